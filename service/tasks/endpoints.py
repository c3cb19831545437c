"""Serve the tasks that a job can have over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from adamss_core.spec.tasks import all_records
from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import Page
from service.tasks.schemas import TaskOut

router = APIRouter(tags=["jobs"])


@router.get("/tasks", responses=errors())
def list_tasks(caller: CallerDep) -> Page[TaskOut]:
    """Lists the tasks that a job can have, with their fields, metrics, inputs and parts of an answer."""
    return Page(data=[TaskOut.of(record) for record in all_records()], has_more=False)
