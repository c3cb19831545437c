"""The audit log over HTTP, for keys with the role admin."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.audit import service
from service.audit.schemas import AuditOut
from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import Limit, Page

router = APIRouter(prefix="/audit", tags=["access"])


@router.get("", responses=errors(422))
def list_audit(
    caller: CallerDep,
    after: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="`next` of the previous page; omit it for the first page.")
    ] = None,
    limit: Limit = 100,
) -> Page[AuditOut]:
    """List this project's changes, deletions and downloads with their authors, newest first. Needs the role `admin`."""
    return service.list_entries(caller, after, limit)
