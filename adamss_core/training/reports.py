"""Report an adapter's training: start, progress, logged steps, evaluations and samples."""

from __future__ import annotations

from typing import Any

from adamss_core.spec.plan import TIME_LIMIT
from adamss_core.training.adapter import AdapterTraining
from adamss_core.training.metric_accumulator import peak_memory_bytes
from adamss_core.training.request import Reporter, Values
from adamss_core.training.step import StepOutcome


def report_start(adapter: AdapterTraining) -> None:
    """Report the plan's warnings and on what the training runs."""
    setup, progress = adapter.setup, adapter.progress
    accelerator, plan = setup.accelerator, setup.plan
    for warning in plan.warnings:
        setup.reporter.event("warning", warning, {})
    setup.reporter.event(
        "training_started",
        f"Training {adapter.trainable_parameters:,} parameters on {accelerator.device.type}, from step {progress.step} "
        f"to {plan.total_steps}.",
        {
            "step": progress.step,
            "total_steps": plan.total_steps,
            "steps_per_epoch": plan.steps_per_epoch,
            "device": str(accelerator.device),
            "precision": accelerator.mixed_precision,
            "processes": setup.ranks.size,
            "trainable_parameters": adapter.trainable_parameters,
            "subspaces": adapter.subspaces.total,
        },
    )


def report_division(reporter: Reporter, processes: int, elements: int, whole: int) -> None:
    """Report that each process holds a part of the base.

    Args:
        elements: of this process, of `whole` that are divided.
    """
    reporter.event(
        "base_divided",
        f"Each of the {processes} devices holds a part of the base's layers: {elements:,} of {whole:,} elements.",
        {"elements": elements, "of": whole, "processes": processes},
    )


def report_progress(adapter: AdapterTraining) -> None:
    """Report the position after a step."""
    adapter.setup.reporter.progress(
        step=adapter.progress.step,
        total_steps=adapter.setup.last_step,
        epoch=adapter.epoch,
        eta_seconds=adapter.eta_seconds,
        asa=adapter.subspaces.counts(),
    )


def report_step(adapter: AdapterTraining, outcome: StepOutcome) -> None:
    """Report the metrics since the last logged step, and begin to accumulate anew."""
    step = adapter.progress.step
    measured = adapter.metrics.values()
    adapter.progress.log_loss(measured["loss"])
    values = measured | {
        "learning_rate": outcome.learning_rate,
        "grad_norm": outcome.finite_grad_norm(),
        "memory_bytes": peak_memory_bytes(adapter.setup.accelerator.device),
        "active_subspaces": adapter.subspaces.active,
        "target_subspaces": adapter.subspaces.scheduled(step),
        "trainable_parameters": adapter.trainable_parameters,
        **adapter.load.values(),
    }
    adapter.metrics.restart()
    adapter.setup.reporter.metrics(kind="train", step=step, epoch=adapter.epoch, values=values)


def report_evaluation(adapter: AdapterTraining, values: Values) -> None:
    """Report the metrics of an evaluation; at step 0 of one before training."""
    adapter.setup.reporter.metrics(kind="eval", step=adapter.progress.step, epoch=adapter.epoch, values=values)


def report_samples(adapter: AdapterTraining, samples: list[dict[str, Any]]) -> None:
    """Report what the model generates at this step."""
    step = adapter.progress.step
    when = f"at step {step}" if step else "before training"
    adapter.setup.reporter.event("samples", f"{len(samples)} samples {when}.", {"step": step, "samples": samples})


def report_time_limit(adapter: AdapterTraining) -> None:
    """Report that the time limit has ended the training."""
    progress, total, clock = adapter.progress, adapter.setup.plan.total_steps, adapter.clock
    message = f"The time limit of {clock.limit:g} s has ended the training after step {progress.step} of {total}."
    asa = adapter.subspaces.counts()
    if asa is not None and not adapter.subspaces.ramp_ended(progress.step):
        message += f" Pruning had not ended: {asa['active']} subspaces are left of {asa['total']}, not {asa['target']}."
    data = {"step": progress.step, "total_steps": total, "limit_seconds": clock.limit, "seconds": clock.seconds}
    adapter.setup.reporter.event(TIME_LIMIT, message, data)


def report_early_stop(adapter: AdapterTraining) -> None:
    """Report that early stopping has ended the training."""
    progress = adapter.progress
    adapter.setup.reporter.event(
        "early_stopping",
        f"Stopped at step {progress.step}: {progress.without_gain} evaluations without improvement.",
        {"step": progress.step, "best_step": progress.best_step},
    )
