"""The audit log as the API answers it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class AuditOut(BaseModel):
    """One thing that someone did."""

    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True)

    id: int
    """Grows with every entry."""
    time: datetime
    """When it was answered."""
    project_id: str | None
    """The project it was done in."""
    key_id: str | None
    """The key it was done with; null for the command line."""
    key_name: str
    """The key's name, or the user of the command line."""
    action: str
    """Method and route, or the command."""
    path: str
    """What it was done to."""
    status: int | None
    """Status of the answer; null for the command line."""
    request_id: str | None
    """Where to find it in the service's log."""
    address: str | None
    """Where it came from, as the service saw it."""
