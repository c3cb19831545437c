"""Serve workers over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from service.fleet import service
from service.fleet.schemas import DrainIn, UndrainIn, WorkersOut
from service.http.context import CallerDep
from service.http.openapi import errors

router = APIRouter(prefix="/workers", tags=["workers"])


@router.get("", responses=errors())
def list_workers(caller: CallerDep) -> WorkersOut:
    """Lists the workers that live: their hosts and devices, and what they run. Jobs of other projects are counted, and
    named to admins only."""
    return service.workers(caller)


@router.post("/drain", responses=errors(404, 422))
def drain_host(caller: CallerDep, wanted: DrainIn) -> WorkersOut:
    """Lets the workers of a host start nothing new, for maintenance; `/workers/undrain` ends that. Needs the role
    `admin`."""
    return service.drain(caller, wanted)


@router.post("/undrain", responses=errors(404, 422))
def undrain_host(caller: CallerDep, wanted: UndrainIn) -> WorkersOut:
    """Lets the workers of a drained host work again. Needs the role `admin`."""
    return service.undrain(caller, wanted.host)
