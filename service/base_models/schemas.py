"""Base models as the API shows them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ModelOut(BaseModel):
    """A base model that jobs may name."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())

    object: Literal["model"] = "model"
    """Always "model"."""
    name: str
    """The name by which a job's `base_model` calls it."""
    model_type: str | None = None
    """Its architecture, such as bert."""
    parameters: int | None = None
    """Number of its parameters."""
    tasks: list[str] = []
    """Tasks it can be fine-tuned for."""
    default_targets: list[str] | None = None
    """What is adapted where a job's `target_modules` is null; null where a job must say."""
    max_length: int | None = None
    """Longest input, in tokens."""
    problem: str | None = None
    """Why it cannot be used, where it cannot."""
