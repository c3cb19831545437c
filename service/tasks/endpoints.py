"""Serve the tasks that a job can have, and the presets of each, over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from adamss_core.spec import Preset, all_presets
from adamss_core.spec.tasks import all_records
from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import Page
from service.tasks.schemas import TaskOut

router = APIRouter(tags=["jobs"])


@router.get("/presets", responses=errors())
def list_presets(caller: CallerDep) -> Page[Preset]:
    """Lists the values that each kind of job starts from. A job's `training` takes those that it leaves out."""
    return Page(data=all_presets(), has_more=False)


@router.get("/tasks", responses=errors())
def list_tasks(caller: CallerDep) -> Page[TaskOut]:
    """Lists the tasks that a job can have, with their fields, metrics, inputs and parts of an answer."""
    return Page(data=[TaskOut.of(record) for record in all_records()], has_more=False)
