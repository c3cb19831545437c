"""The table of a sweep: state and value of each trial, and which is the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from service.shared.database.tables import Job, JobStatus, Sweep, SweepTrial

TrialState = Literal["refused", "waiting", "running", "stopped", "complete", "failed", "cancelled"]


@dataclass(frozen=True)
class TrialRow:
    """A trial of a sweep.

    Attributes:
        jobs: one for each seed; empty for a refused trial.
        value: mean of the objective over the seeds: of the published models, else of the best evaluations so far.
        error: standard error of that mean; None with one seed.
    """

    trial: SweepTrial
    jobs: Sequence[Job]
    state: TrialState
    value: float | None
    error: float | None


def table_of(session: Session, sweep: Sweep) -> list[TrialRow]:
    """Return the trials of a sweep by number."""
    trials = session.scalars(
        select(SweepTrial).where(SweepTrial.sweep_id == sweep.id).order_by(SweepTrial.number)
    ).all()
    jobs: dict[int, list[Job]] = {trial.number: [] for trial in trials}
    found = select(Job).where(Job.sweep_id == sweep.id).order_by(Job.trial, Job.created_at, Job.id)
    small = found.options(defer(Job.spec), defer(Job.resolved)).execution_options(populate_existing=True)
    for job in session.scalars(small):
        if job.trial in jobs:
            jobs[job.trial].append(job)
    return [_row(sweep, trial, jobs[trial.number]) for trial in trials]


def best_first(sweep: Sweep, rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Rank the trials that were trained to their end; without any, those that were stopped."""
    valued = [row for row in rows if row.value is not None]
    ranked = [row for row in valued if row.state == "complete"] or [row for row in valued if row.state == "stopped"]
    return sorted(ranked, key=lambda row: (_signed(sweep, row.value), row.trial.number))


def kept_first(sweep: Sweep, rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Rank trials by whose artifacts to keep: as `best_first`, but one that is complete without a value has a model."""
    complete = [row for row in rows if row.state == "complete"]
    unvalued = [row for row in complete if row.value is None]
    return [*best_first(sweep, complete), *unvalued] or best_first(sweep, rows)


def _signed(sweep: Sweep, value: float | None) -> float:
    number = math.inf if value is None else value
    return -number if sweep.direction == "max" else number


def _row(sweep: Sweep, trial: SweepTrial, jobs: Sequence[Job]) -> TrialRow:
    values = [value for job in jobs if (value := _value(sweep, trial, job)) is not None]
    mean = fmean(values) if values and len(values) == len(jobs) else None
    error = stdev(values) / math.sqrt(len(values)) if mean is not None and len(values) > 1 else None
    return TrialRow(trial, jobs, _state(trial, jobs), mean, error)


def _state(trial: SweepTrial, jobs: Sequence[Job]) -> TrialState:
    statuses = {job.status for job in jobs}
    if trial.refusal is not None:
        return "refused"
    if trial.stopped_after is not None or any(job.stopped_early is not None for job in jobs):
        return "stopped"
    if JobStatus.FAILED in statuses:
        return "failed"
    if JobStatus.CANCELLED in statuses or not jobs:  # or its jobs were deleted
        return "cancelled"
    if statuses == {JobStatus.SUCCEEDED}:
        return "complete"
    return "waiting" if statuses == {JobStatus.PAUSED} else "running"


def _value(sweep: Sweep, trial: SweepTrial, job: Job) -> float | None:
    """Return a job's objective: of its published model, else of its best evaluation up to the stop."""
    is_complete = job.status == JobStatus.SUCCEEDED and job.stopped_early is None
    if trial.stopped_after is None and is_complete:
        value = (job.result or {}).get(f"eval_{sweep.objective}")
        return float(value) if isinstance(value, int | float) else None
    evaluations = trial.evaluations.get(job.id, [])[: trial.stopped_after]
    known = [value for value in evaluations if value is not None]
    return (max if sweep.direction == "max" else min)(known, default=None)
