"""Schemas of health."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class HealthOut(BaseModel):
    """Liveness of the process."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    status: Literal["ok"] = "ok"
    """Always "ok"."""


class ReadyOut(BaseModel):
    """Readiness to run jobs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ready: bool
    """Whether all parts are available."""
    database: bool
    """Whether the database answers."""
    broker: bool
    """Whether the broker accepts messages. Without it jobs start some seconds later."""
    worker: bool
    """Whether a worker has sent a heartbeat within the lease time."""
