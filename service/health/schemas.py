"""Health as the API shows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class HealthOut(BaseModel):
    """The process answers."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: Literal["ok"] = "ok"
    """Always "ok"."""


class ReadyOut(BaseModel):
    """Whether jobs would run now."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ready: bool
    """Whether all parts are there."""
    database: bool
    """The database answers."""
    broker: bool
    """The broker takes messages. Jobs run without it as well, some seconds later."""
    worker: bool
    """A worker was heard from lately."""
