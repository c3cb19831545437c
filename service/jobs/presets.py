"""Good values for each kind of job, over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from adamss_core.spec import PRESETS, Preset
from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import Page

router = APIRouter(prefix="/presets", tags=["jobs"])


@router.get("", responses=errors())
def list_presets(caller: CallerDep) -> Page[Preset]:
    """What each kind of job starts from. A job's `training` takes these values where it has none of its own."""
    return Page(data=list(PRESETS), has_more=False)
