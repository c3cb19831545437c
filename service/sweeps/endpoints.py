"""Serve sweeps over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import After, Limit, Page
from service.jobs.endpoints import Key
from service.sweeps import service
from service.sweeps.schemas import ImportanceOut, SweepIn, SweepOut, SweepPlanOut, SweepSummaryOut

router = APIRouter(prefix="/sweeps", tags=["sweeps"])

SweepId = Annotated[str, Path(description="Id of a sweep, such as sweep_7m3k9x2pqr.", max_length=60)]


@router.post(
    "",
    status_code=201,
    response_model=SweepOut,
    responses={200: {"model": SweepPlanOut, "description": "A dry run's plan."}, **errors(400, 413, 422)},
)
def submit_sweep(
    caller: CallerDep,
    response: Response,
    wanted: SweepIn,
    idempotency_key: Key = None,
    dry_run: Annotated[bool, Query(description="Only choose and check the trials; nothing is created.")] = False,
) -> SweepOut | Response:
    """Looks for the best of many runs of a spec: trials are jobs, workers start `parallel` of them at a time, and those
    that do badly are stopped early.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" --json '{"space": "quick", "trials": 12,
             "spec": {"name": "reviews", "base_model": "minilm", "dataset": {"train": "ds_..."}}}' \\
             http://127.0.0.1:8642/sweeps
    """
    if dry_run:
        return Response(service.dry_run(caller, wanted).model_dump_json(), 200, media_type="application/json")
    made = service.submit(caller, wanted, idempotency_key)
    response.headers["location"] = f"/sweeps/{made.id}"
    return made


@router.get("", responses=errors(422))
def list_sweeps(caller: CallerDep, after: After = None, limit: Limit = 20) -> Page[SweepSummaryOut]:
    """Lists the project's sweeps, newest first."""
    return service.list_sweeps(caller, after, limit)


@router.get("/{sweep_id}", responses=errors(404, 422))
def get_sweep(caller: CallerDep, sweep_id: SweepId) -> SweepOut:
    """A sweep: its trials with their values, and the best one."""
    return service.show(caller, sweep_id)


@router.get("/{sweep_id}/importance", responses=errors(404, 422))
def sweep_importance(caller: CallerDep, sweep_id: SweepId) -> ImportanceOut:
    """How much each field of the space mattered for the objective."""
    return service.show_importance(caller, sweep_id)


@router.post("/{sweep_id}/cancel", responses=errors(404, 409, 422))
def cancel_sweep(caller: CallerDep, sweep_id: SweepId) -> SweepOut:
    """Cancels a sweep with all trials that have not ended."""
    return service.cancel(caller, sweep_id)


@router.post("/{sweep_id}/pause", responses=errors(404, 409, 422))
def pause_sweep(caller: CallerDep, sweep_id: SweepId) -> SweepOut:
    """Pauses a sweep: running trials write a checkpoint, and no other starts."""
    return service.pause(caller, sweep_id)


@router.post("/{sweep_id}/resume", responses=errors(404, 409, 422))
def resume_sweep(caller: CallerDep, sweep_id: SweepId) -> SweepOut:
    """Lets a paused sweep go on."""
    return service.resume(caller, sweep_id)


@router.delete("/{sweep_id}", status_code=204, responses=errors(404, 409, 422))
def delete_sweep(caller: CallerDep, sweep_id: SweepId) -> None:
    """Deletes an ended sweep; its jobs stay, as jobs of their own."""
    service.delete(caller, sweep_id)
