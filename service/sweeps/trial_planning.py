"""Plan a sweep: choose the values of its trials, and plan the jobs of each as a dry run would."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from adamss_core.spec import JobSpec, record_of
from adamss_core.spec.tasks.metrics import Metric
from service.http.context import Caller
from service.http.gate.validation import explain
from service.jobs.planning import plan_job
from service.jobs.priorities import check_priority
from service.jobs.schemas import PlanOut
from service.shared.errors import InvalidRequest, ServiceError, Unavailable
from service.shared.jobs.webhooks import check_webhook
from service.sweeps.schemas import SweepIn
from service.sweeps.space import Params, Space, check_space, choose, ready_space, with_params

PRIORITY = -10  # of trials: single jobs go first


@dataclass
class PlannedTrial:
    """A trial before it is made.

    Attributes:
        jobs: spec and plan of each of its jobs; empty where the trial is refused.
    """

    number: int
    params: Params
    refusal: Params | None = None
    jobs: list[tuple[JobSpec, PlanOut]] = field(default_factory=list)

    @property
    def evaluations(self) -> int | None:
        """Return how many evaluations each of its jobs makes, as planned."""
        if not self.jobs:
            return None
        _, plan = self.jobs[0]
        every = plan.spec.training.eval_steps
        interval = plan.estimate.steps_per_epoch if every == "epoch" else every
        return math.ceil(plan.estimate.steps / interval)


@dataclass(frozen=True)
class PlannedSweep:
    """A sweep before it is made."""

    space: Space
    metric: Metric
    trials: Sequence[PlannedTrial]

    @property
    def jobs(self) -> list[tuple[JobSpec, PlanOut]]:
        return [job for trial in self.trials for job in trial.jobs]


def plan_sweep(caller: Caller, wanted: SweepIn) -> PlannedSweep:
    """Choose the trials and plan their jobs.

    Raises:
        InvalidRequest: the space or the objective does not fit the spec, or every trial is refused.
    """
    spec = wanted.spec
    check_webhook(caller.settings, spec.webhook)
    check_priority(caller, spec.priority)
    space = ready_space(wanted.space, spec) if isinstance(wanted.space, str) else wanted.space
    check_space(space, spec)
    if wanted.seeds and "training.seed" in space:
        raise InvalidRequest("seeds already chooses training.seed.", code="fixed_field", param="space.training.seed")
    metric = _objective(caller, wanted)
    plain = spec.model_dump(mode="json", exclude_unset=True)
    plain.setdefault("priority", PRIORITY)
    base = with_params(plain, {"training.metric_for_best": metric.name})
    chosen = choose(space, spec, wanted.trials, wanted.sampler_seed)
    trials = [_plan(caller, wanted, base, number, params) for number, params in enumerate(chosen, start=1)]
    if not any(trial.jobs for trial in trials):
        first = trials[0].refusal or {}
        raise InvalidRequest(
            f"No trial can run. The first one: {first['message']}", code="all_trials_refused", param="space"
        )
    return PlannedSweep(space, metric, trials)


def _objective(caller: Caller, wanted: SweepIn) -> Metric:
    """Return the metric that ranks.

    Raises:
        InvalidRequest: the task does not report it.
    """
    if wanted.objective is None:
        wanted_name = wanted.spec.training.metric_for_best
        name = None if wanted_name == "auto" else wanted_name
    else:
        name = wanted.objective
    metrics = {metric.name: metric for metric in record_of(wanted.spec).metrics}
    if name is None:
        return record_of(wanted.spec).metrics[0]
    if name not in metrics:
        raise InvalidRequest(
            f"The task {wanted.spec.task} does not report {name[:60]}. It reports: {', '.join(metrics)}.",
            code="unknown_objective",
            param="objective",
        )
    return metrics[name]


def _plan(caller: Caller, wanted: SweepIn, base: Params, number: int, params: Params) -> PlannedTrial:
    trial = PlannedTrial(number, params)
    name = f"{wanted.name or wanted.spec.name} {number}"[-120:]
    fields: Params = {"name": name, **params}
    changed = [fields | {"training.seed": seed} for seed in wanted.seeds] or [fields]
    try:
        for one in changed:
            spec = JobSpec.model_validate(with_params(base, one))
            plan = trial.jobs[0][1] if trial.jobs else None
            if plan is None:
                plan = plan_job(caller, spec)
            else:  # seeds change nothing that is planned
                planned = plan.spec.model_copy(update={"training": plan.spec.training.model_copy()})
                planned.training.seed = spec.training.seed
                plan = plan.model_copy(update={"spec": planned})
            trial.jobs.append((spec, plan))
    except ValidationError as error:
        problems = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        _refuse(trial, explain(problems, with_params(base, fields), JobSpec))
    except Unavailable:
        raise
    except ServiceError as error:
        _refuse(trial, error)
    return trial


def _refuse(trial: PlannedTrial, error: ServiceError) -> None:
    trial.jobs = []
    trial.refusal = {"code": error.code, "message": error.message, "param": error.param}
