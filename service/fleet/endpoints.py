"""Serve workers over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from service.fleet import service, usage
from service.fleet.schemas import DeviceUsageOut, DrainIn, UndrainIn, WorkersOut
from service.http.context import CallerDep
from service.http.openapi import errors
from service.jobs import waiting_places
from service.jobs.place_schemas import QueueOut

router = APIRouter(tags=["workers"])
Month = Annotated[str | None, Query(description="Such as 2026-11, by UTC; this one by default.")]


@router.get("/workers", responses=errors())
def list_workers(caller: CallerDep) -> WorkersOut:
    """Lists the workers that live: their hosts and devices, and what they run. Jobs of other projects are counted, and
    named to admins only."""
    return service.workers(caller)


@router.post("/workers/drain", responses=errors(404, 422))
def drain_host(caller: CallerDep, wanted: DrainIn) -> WorkersOut:
    """Lets the workers of a host start nothing new, for maintenance; `/workers/undrain` ends that. Needs the role
    `admin`."""
    return service.drain(caller, wanted)


@router.post("/workers/undrain", responses=errors(404, 422))
def undrain_host(caller: CallerDep, wanted: UndrainIn) -> WorkersOut:
    """Lets the workers of a drained host work again. Needs the role `admin`."""
    return service.undrain(caller, wanted.host)


@router.get("/queue", responses=errors())
def list_queue(caller: CallerDep) -> QueueOut:
    """Lists the project's jobs that wait, in the order in which they are expected to start, with why each waits; to an
    admin those of all projects."""
    return waiting_places.list_queue(caller)


@router.get("/usage", responses=errors(422))
def show_usage(caller: CallerDep, month: Month = None) -> DeviceUsageOut:
    """Shows the device hours of a month by project and owner, and what the project may use; to an admin those of all
    projects."""
    return usage.usage(caller, month)
