"""Schema of a base model."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ModelOut(BaseModel):
    """A base model, for a job's `base_model`."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())

    object: Literal["model"] = "model"
    """Always "model"."""
    name: str
    """Value for a job's `base_model`."""
    model_type: str | None = None
    """Its architecture, such as bert."""
    parameters: int | None = None
    """Number of its parameters."""
    tasks: list[str] = []
    """Tasks it can be fine-tuned for."""
    default_targets: list[str] | None = None
    """Adapted modules if a job's `target_modules` is null; null if the job must name them."""
    max_length: int | None = None
    """Longest input, in tokens."""
    problem: str | None = None
    """Reason why the model cannot be used; null if it can."""
