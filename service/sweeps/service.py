"""Make, show, cancel, pause and resume sweeps; workers drive their trials."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.http.context import Caller
from service.http.paging import Page, cursor, parse_cursor, split
from service.jobs.service import digest_of, insert_planned
from service.shared.database.tables import TERMINAL, Job, JobStatus, Sweep, SweepStatus, SweepTrial, now
from service.shared.errors import Conflict, InvalidRequest, NotFound
from service.shared.ids import new_id
from service.shared.jobs import states
from service.shared.sweeps.trial_table import table_of
from service.sweeps import repository
from service.sweeps.importance import importance
from service.sweeps.schemas import ImportanceOut, SweepIn, SweepOut, SweepPlanOut, SweepSummaryOut
from service.sweeps.sweep_views import render, render_planned, summary_of, warnings_of
from service.sweeps.trial_planning import PlannedSweep, plan_sweep


def dry_run(caller: Caller, wanted: SweepIn) -> SweepPlanOut:
    """Plan a sweep without creating it."""
    planned = plan_sweep(caller, wanted)
    seconds = [plan.estimate.seconds for _, plan in planned.jobs]
    known = [one for one in seconds if one is not None]
    ran = [trial for trial in planned.trials if trial.jobs]
    return SweepPlanOut(
        trials=len(ran),
        jobs=len(planned.jobs),
        refused=len(planned.trials) - len(ran),
        objective=planned.metric.name,
        direction=planned.metric.direction,
        seconds=sum(known) / min(wanted.parallel, len(ran)) if len(known) == len(seconds) else None,
        warnings=warnings_of(wanted, planned),
        planned=[render_planned(trial) for trial in planned.trials],
    )


def submit(caller: Caller, wanted: SweepIn, key: str | None) -> SweepOut:
    """Create a sweep with all of its trials in one transaction; a repeated key returns the first one.

    Raises:
        InvalidRequest: it cannot work, or the key was sent before with another body.
    """
    digest = digest_of(wanted)
    if (earlier := _earlier(caller, key, digest)) is not None:
        return earlier
    planned = plan_sweep(caller, wanted)
    try:
        with caller.db.write() as session:
            return render(session, _insert(session, caller, wanted, planned, key, digest))
    except IntegrityError:  # another request with the same key was quicker
        if (earlier := _earlier(caller, key, digest)) is None:
            raise
        return earlier


def list_sweeps(caller: Caller, after: str | None, limit: int) -> Page[SweepSummaryOut]:
    with caller.db.read() as session:
        rows, more = split(repository.page(session, caller.project_id, parse_cursor(after), limit + 1), limit)
        end = cursor(rows[-1].created_at, rows[-1].id) if rows else None
        return Page(data=[summary_of(session, sweep) for sweep in rows], has_more=more, next=end)


def show(caller: Caller, sweep_id: str) -> SweepOut:
    with caller.db.read() as session:
        return render(session, _get(session, caller, sweep_id))


def show_importance(caller: Caller, sweep_id: str) -> ImportanceOut:
    with caller.db.read() as session:
        sweep = _get(session, caller, sweep_id)
        shares, trials = importance(sweep, table_of(session, sweep))
        return ImportanceOut(importance=shares, trials=trials)


def cancel(caller: Caller, sweep_id: str) -> SweepOut:
    """Cancel a sweep and all of its trials that have not ended."""
    return _change(caller, sweep_id, SweepStatus.CANCELLED, states.cancel, TERMINAL)


def pause(caller: Caller, sweep_id: str) -> SweepOut:
    """Pause a sweep: its running trials write a checkpoint, and no other starts."""
    other = (*TERMINAL, JobStatus.PAUSED, JobStatus.CANCELLING)
    return _change(caller, sweep_id, SweepStatus.PAUSED, states.pause, other)


def resume(caller: Caller, sweep_id: str) -> SweepOut:
    """Let a paused sweep go on; a worker queues its trials again.

    Raises:
        Conflict: it is not paused.
    """
    with caller.db.write() as session:
        sweep = _get(session, caller, sweep_id, lock=True)
        if sweep.state != SweepStatus.PAUSED:
            raise _conflict(sweep, "resumed")
        sweep.state = SweepStatus.RUNNING
        return render(session, sweep)


def delete(caller: Caller, sweep_id: str) -> None:
    """Delete an ended sweep; its jobs stay, as jobs of their own.

    Raises:
        Conflict: it has not ended.
    """
    with caller.db.write() as session:
        sweep = _get(session, caller, sweep_id, lock=True)
        if sweep.state not in (SweepStatus.SUCCEEDED, SweepStatus.CANCELLED):
            raise _conflict(sweep, "deleted")
        repository.remove(session, sweep)


def _change(
    caller: Caller,
    sweep_id: str,
    status: SweepStatus,
    transition: Callable[[Session, Job], None],
    untouched: tuple[JobStatus, ...],
) -> SweepOut:
    with caller.db.write() as session:
        sweep = _get(session, caller, sweep_id, lock=True)
        if sweep.state not in (SweepStatus.RUNNING, SweepStatus.PAUSED) or sweep.state == status:
            raise _conflict(sweep, status.value)
        sweep.state = status
        if status is SweepStatus.CANCELLED:
            sweep.ended_at = now()
        for job in repository.jobs_of(session, sweep.id):
            if job.status not in untouched:
                transition(session, job)
        return render(session, sweep)


def _conflict(sweep: Sweep, verb: str) -> Conflict:
    message = f"A sweep that is {sweep.state} cannot be {verb}."
    return Conflict(message, code=f"sweep_{sweep.state}", param="status")


def _get(session: Session, caller: Caller, sweep_id: str, *, lock: bool = False) -> Sweep:
    sweep = repository.find(session, caller.project_id, sweep_id, lock=lock)
    if sweep is None:
        raise NotFound(f"There is no sweep {sweep_id}. GET /sweeps lists yours.", code="sweep_not_found")
    return sweep


def _earlier(caller: Caller, key: str | None, digest: str) -> SweepOut | None:
    if key is None:
        return None
    with caller.db.read() as session:
        sweep = repository.find_by_key(session, caller.project_id, key)
        if sweep is None:
            return None
        if sweep.body_sha256 != digest:
            raise InvalidRequest(
                "This Idempotency-Key was sent before with another body. Use a new key for a new sweep.",
                code="idempotency_key_reused",
                param="Idempotency-Key",
            )
        return render(session, sweep)


def _insert(
    session: Session, caller: Caller, wanted: SweepIn, planned: PlannedSweep, key: str | None, digest: str
) -> Sweep:
    space = {path: dimension.model_dump(mode="json", exclude_unset=True) for path, dimension in planned.space.items()}
    spec = wanted.spec.model_dump(mode="json", exclude_unset=True)
    sweep = Sweep(
        id=new_id("sweep"),
        project_id=caller.project_id,
        name=wanted.name or wanted.spec.name,
        state=SweepStatus.RUNNING,
        request=wanted.model_dump(mode="json") | {"spec": spec, "space": space},
        objective=planned.metric.name,
        direction=planned.metric.direction,
        idempotency_key=key,
        body_sha256=digest,
        created_at=now(),
    )
    session.add(sweep)
    session.flush()
    for trial in planned.trials:
        own = {"number": trial.number, "params": trial.params, "refusal": trial.refusal}
        session.add(SweepTrial(sweep_id=sweep.id, evaluations={}, planned_evaluations=trial.evaluations, **own))
        for spec_of_job, plan in trial.jobs:
            job = insert_planned(session, caller, spec_of_job, plan, {})
            job.sweep_id, job.trial = sweep.id, trial.number
            states.pause(session, job)  # the driver queues it when it is its turn
    session.flush()
    return sweep
