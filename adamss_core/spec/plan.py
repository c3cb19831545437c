"""Turn a spec and the sizes of model and data into numbers: steps, subspaces, a resolved ASA schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from adamss_core.spec.job import MAX_STEPS, JobSpec
from adamss_core.spec.presets import with_defaults
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.tasks import metrics_of

# "auto": the ramp takes the middle of the run, as PEFT's documentation advises (pruning done by half of the steps),
# in about ten prunings.
RAMP_BEGIN, RAMP_END, PRUNINGS = 0.1, 0.5, 10
TIME_LIMIT = "time_limit"  # code of a job whose training has reached its limit


@dataclass(frozen=True)
class Plan:
    """The steps and the resolved spec of a job, before it runs.

    Attributes:
        spec: the spec with its task's values where it had none, and every "auto" of the ASA schedule, and that of
            metric_for_best, replaced.
        total_steps: optimizer steps.
        steps_per_epoch: optimizer steps in one pass over the training rows.
        warnings: settings that work but may surprise.
    """

    spec: JobSpec
    total_steps: int
    steps_per_epoch: int
    warnings: tuple[str, ...] = ()

    def for_subspaces(self, total: int) -> Plan:
        """Warn of a target that the number of subspaces over all modules does not exceed."""
        target = self.spec.adamss.asa_target_subspaces
        if not self.spec.adamss.use_asa or target < total:
            return self
        warning = (
            f"asa_target_subspaces is {target}, but this model and these targets have {total} subspaces: nothing will "
            f"be pruned. Use a number below {total}."
        )
        return replace(self, warnings=(*self.warnings, warning))


def make_plan(spec: JobSpec, train_rows: int, total_subspaces: int) -> Plan:
    """Resolve the schedule, and warn of a target at which nothing is pruned.

    Args:
        train_rows: rows that are trained on, the held-out ones excluded.
        total_subspaces: over all targets, known from the model's shapes.

    Raises:
        SpecProblem: with the field and numbers that would work.
    """
    return plan_steps(spec, train_rows).for_subspaces(total_subspaces)


def plan_steps(spec: JobSpec, train_rows: int) -> Plan:
    """Derive steps and schedule from the rows alone, before an adapter exists whose subspaces could be counted.

    Raises:
        SpecProblem: with the field and numbers that would work.
    """
    spec = with_defaults(spec)
    training = spec.training
    per_step = training.batch_size * training.gradient_accumulation_steps
    steps_per_epoch = max(1, math.ceil(train_rows / per_step))
    total_steps = training.max_steps or max(1, math.ceil(steps_per_epoch * training.epochs))
    if total_steps > MAX_STEPS:
        raise SpecProblem(
            "training.epochs",
            f"epochs is {training.epochs:g}, which makes {total_steps:,} optimizer steps of {train_rows:,} rows; "
            f"at most {MAX_STEPS:,} are possible. Use at most {MAX_STEPS / steps_per_epoch:.3g} epochs, max_steps, or "
            "a larger batch_size.",
            "too_many_steps",
        )
    if training.metric_for_best == "auto":
        spec = spec.model_copy(
            update={"training": training.model_copy(update={"metric_for_best": metrics_of(spec)[0]})}
        )
    if spec.adamss.use_asa:
        spec = _with_schedule(spec, total_steps)
    return Plan(spec=spec, total_steps=total_steps, steps_per_epoch=steps_per_epoch)


def _with_schedule(spec: JobSpec, total_steps: int) -> JobSpec:
    adamss = spec.adamss
    if total_steps < 2:
        raise SpecProblem(
            "adamss.use_asa",
            "The job has a single optimizer step, which leaves no steps to prune in. Train longer (training.epochs, "
            "training.max_steps), use a smaller training.batch_size, or set use_asa to false.",
            "schedule_unreachable",
        )
    auto_final = max(1, round(RAMP_END * total_steps))
    final = auto_final if adamss.final_warmup == "auto" else adamss.final_warmup
    if final > total_steps:
        raise SpecProblem(
            "adamss.final_warmup",
            f"final_warmup is {final}, but the job has only {total_steps} optimizer steps, so the target would never "
            f'be reached. Use final_warmup of at most {total_steps} (such as {auto_final}), "auto", or train for '
            f"at least {final} steps.",
            "schedule_unreachable",
        )
    auto_init = min(round(RAMP_BEGIN * total_steps), final - 1)
    init = auto_init if adamss.init_warmup == "auto" else adamss.init_warmup
    if init >= final:
        raise SpecProblem(
            "adamss.init_warmup",
            f"init_warmup is {init}, but pruning ends at step {final}. Use an init_warmup below {final} (such as "
            f'{auto_init}), or "auto".',
            "schedule_unreachable",
        )
    interval = adamss.mask_interval
    if interval == "auto":
        interval = max(1, (final - init) // PRUNINGS)
    resolved = adamss.model_copy(update={"init_warmup": init, "final_warmup": final, "mask_interval": interval})
    return spec.model_copy(update={"adamss": resolved})
