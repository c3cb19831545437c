"""Show sweeps, their trials, and what one would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from service.shared.database.tables import Sweep
from service.shared.sweeps.device_time import device_seconds
from service.shared.sweeps.trial_table import TrialRow, best_first, kept_first, table_of
from service.sweeps.schemas import RefusalOut, SweepIn, SweepOut, SweepSummaryOut, TrialOut
from service.sweeps.trial_planning import PlannedSweep, PlannedTrial


def summary_of(session: Session, sweep: Sweep) -> SweepSummaryOut:
    """Show a sweep as lists do; pages ask for many of them again and again."""
    return SweepSummaryOut(**_summary(sweep, table_of(session, sweep)))


def render(session: Session, sweep: Sweep) -> SweepOut:
    rows = table_of(session, sweep)
    return SweepOut(
        **_summary(sweep, rows),
        request=sweep.request,
        trials=[_trial(row) for row in rows],
        device_seconds=device_seconds(session, sweep.id),
    )


def _summary(sweep: Sweep, rows: Sequence[TrialRow]) -> dict[str, Any]:
    best = best_first(sweep, rows)
    own = {name: getattr(sweep, name) for name in ("id", "name", "objective", "direction", "created_at", "ended_at")}
    counts = dict(Counter(row.state for row in rows))
    shown = {"best": _trial(best[0]) if best else None, "no_best": None if best else _no_best(sweep, rows)}
    return own | {"status": sweep.state, "counts": counts} | shown


def _no_best(sweep: Sweep, rows: Sequence[TrialRow]) -> str | None:
    """Say why a sweep that has ended has no best trial."""
    if sweep.ended_at is None:
        return None
    values = [value for row in rows for series in row.trial.evaluations.values() for value in series]
    if not values and not any(row.state == "complete" for row in rows):
        return "No trial is the best: none was evaluated before it ended."
    if any(value is not None for value in values):
        return "No trial is the best: none has a value with each of its seeds."
    kept = kept_first(sweep, rows)[: sweep.request["keep"]]
    models = f"Artifacts are kept of trial {', '.join(str(row.trial.number) for row in kept)}." if kept else ""
    return (
        f"No trial is the best: {sweep.objective} was undefined at each evaluation, as a correlation is where all "
        "predictions are equal. Train longer (training.epochs), hold out more rows (dataset.eval_fraction) or choose "
        f"another objective. {models}"
    ).strip()


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
        step=max((job.step for job in row.jobs), default=0),
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
        step=0,
        refusal=None if trial.refusal is None else RefusalOut(**trial.refusal),
        jobs=[],
        ended_at=None,
    )
