"""Show sweeps, their trials, and what one would do."""

from __future__ import annotations

from collections import Counter

from sqlalchemy.orm import Session

from service.shared.database.tables import Sweep
from service.shared.sweeps.device_time import device_seconds
from service.shared.sweeps.trial_table import TrialRow, best_first, table_of
from service.sweeps.schemas import RefusalOut, SweepIn, SweepOut, SweepSummaryOut, TrialOut
from service.sweeps.trial_planning import PlannedSweep, PlannedTrial


def summary_of(session: Session, sweep: Sweep) -> SweepSummaryOut:
    return SweepSummaryOut.model_validate(render(session, sweep).model_dump())


def render(session: Session, sweep: Sweep) -> SweepOut:
    rows = table_of(session, sweep)
    best = best_first(sweep, rows)
    own = {name: getattr(sweep, name) for name in ("id", "name", "objective", "direction", "request")}
    return SweepOut(
        **own,
        status=sweep.state,
        counts=dict(Counter(row.state for row in rows)),
        best=_trial(best[0]) if best else None,
        trials=[_trial(row) for row in rows],
        device_seconds=device_seconds(session, sweep.id),
        created_at=sweep.created_at,
        ended_at=sweep.ended_at,
    )


def warnings_of(wanted: SweepIn, planned: PlannedSweep) -> list[str]:
    most = max((trial.evaluations or 0 for trial in planned.trials), default=0)
    if wanted.stop is None or wanted.stop.first < most:
        return []
    return [
        f"A trial makes {most} evaluations, and the first trials stop after {wanted.stop.first}, so none stops early. "
        "Lower training.eval_steps, or set stop to null."
    ]


def _trial(row: TrialRow) -> TrialOut:
    first = row.jobs[0].id if row.jobs else ""
    return TrialOut(
        number=row.trial.number,
        params=row.trial.params,
        state=row.state,
        value=row.value,
        error=row.error,
        evaluations=row.trial.evaluations.get(first, []),
        stopped_after=row.trial.stopped_after,
        refusal=None if row.trial.refusal is None else RefusalOut(**row.trial.refusal),
        jobs=[job.id for job in row.jobs],
        ended_at=max(ends)
        if len(ends := [job.ended_at for job in row.jobs if job.ended_at]) == len(row.jobs) > 0
        else None,
    )


def render_planned(trial: PlannedTrial) -> TrialOut:
    return TrialOut(
        number=trial.number,
        params=trial.params,
        state="refused" if trial.refusal else "waiting",
        value=None,
        error=None,
        evaluations=[],
        stopped_after=None,
        refusal=None if trial.refusal is None else RefusalOut(**trial.refusal),
        jobs=[],
        ended_at=None,
    )
