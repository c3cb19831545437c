"""Liveness, readiness and Prometheus metrics over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.health import service
from service.health.schemas import HealthOut, ReadyOut
from service.http.context import CallerDep, ContextDep
from service.http.openapi import errors

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def liveness() -> HealthOut:
    """Report that the process is alive. Needs no key."""
    return HealthOut()


@router.get("/readyz", responses={503: {"model": ReadyOut, "description": "A part is not available."}})
def readiness(context: ContextDep, response: Response) -> ReadyOut:
    """Report whether database, broker and a worker are available. Needs no key."""
    state = service.readiness(context)
    response.status_code = 200 if state.ready else 503
    return state


@router.get("/metrics", responses=errors(), response_class=Response)
def prometheus(request: Request, caller: CallerDep) -> Response:
    """Exports metrics in Prometheus' format.

    Any key sees the jobs of its own project by status (`adamss_jobs`) and how long the oldest of them has waited
    (`adamss_queue_age_seconds`). A key with the role `admin` sees both for all projects together, and workers, devices
    and requests."""
    return Response(service.scrape(request.app.state.registry, caller), media_type=CONTENT_TYPE_LATEST)
