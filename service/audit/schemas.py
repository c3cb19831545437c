"""Schema of the audit log."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class AuditOut(BaseModel):
    """A change, deletion or download."""

    model_config = ConfigDict(use_attribute_docstrings=True, from_attributes=True)

    id: int
    """Number of the entry; later entries have higher numbers."""
    time: datetime
    """Time of the response or command."""
    project_id: str | None
    """Project of the action."""
    key_id: str | None
    """Key of the action; null for the command line."""
    key_name: str
    """The key's name, or the user of the command line."""
    action: str
    """Method and route, or the command."""
    path: str
    """Path of the request, or subject of the command."""
    status: int | None
    """Status of the response; null for the command line."""
    request_id: str | None
    """Id of the request in the service's log."""
    address: str | None
    """Address of the caller, as the service sees it."""
