"""Successive halving by Optuna: which trials of a sweep stop, and after which evaluation.

Optuna's state is made anew from the evaluations at each call, so that nothing has to be kept, lost or repaired beside
the database's own rows. A trial is judged at a rung only once all trials with lower numbers are: the outcome is the
same in whatever order workers report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, cast

from service.shared.database.tables import TERMINAL, Job, Sweep, SweepTrial
from service.shared.sweeps.trial_table import TrialRow


@dataclass(frozen=True)
class TrialProgress:
    """How far a trial is.

    Attributes:
        values: of its evaluations, in order; None where the metric is undefined.
        is_over: whether no more evaluations will come.
        planned: evaluations of the whole training: at the last one nothing is left to save. None if unknown.
    """

    values: Sequence[float | None]
    is_over: bool
    planned: int | None = None


def judge(sweep: Sweep, rows: Sequence[TrialRow]) -> None:
    """Set after how many evaluations trials stop, as far as it is known by now."""
    stop = sweep.request.get("stop")
    judged = [row for row in rows if row.jobs]
    if stop is None or not judged:
        return
    progress = [_progress(row.trial, row.jobs) for row in judged]
    direction = cast(Literal["max", "min"], sweep.direction)
    found = stopped_after(progress, direction, stop["first"], stop["factor"])
    for row, evaluations in zip(judged, found, strict=True):
        row.trial.stopped_after = evaluations


def stopped_after(
    trials: Sequence[TrialProgress], direction: Literal["max", "min"], first: int, factor: int
) -> list[int | None]:
    """Return for each trial after how many evaluations it stops; None where it goes on, as far as is known.

    Args:
        trials: by number.
        first: evaluations before the first trials stop.
        factor: one of so many trials passes a rung; the next rung has so many times the evaluations.
    """
    import optuna  # half a second, and only sweeps need it

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)
    study = optuna.create_study(direction="maximize" if direction == "max" else "minimize", pruner=pruner)
    judged = [study.ask() for _ in trials]
    undefined = -math.inf if direction == "max" else math.inf  # the worst: NaN would stop each trial that has it
    stops: list[int | None] = [None] * len(trials)
    reach, rung = len(trials), first
    longest = max((len(trial.values) for trial in trials), default=0)
    while rung <= longest:
        for number in range(reach):
            values = trials[number].values
            is_at_end = rung >= (trials[number].planned or math.inf)
            if stops[number] is not None or is_at_end or (len(values) < rung and trials[number].is_over):
                continue
            if len(values) < rung:
                reach = number
                break
            value = values[rung - 1]
            judged[number].report(undefined if value is None else value, rung)
            if judged[number].should_prune():
                stops[number] = rung
        rung *= factor
    return stops


def _progress(trial: SweepTrial, jobs: Sequence[Job]) -> TrialProgress:
    """Return the mean over the seeds at each evaluation that all of them have made."""
    series = [trial.evaluations.get(job.id, []) for job in jobs]
    values = [None if None in several else fmean(several) for several in zip(*series, strict=False)]
    return TrialProgress(values, all(job.status in TERMINAL for job in jobs), trial.planned_evaluations)
