"""Hold a plan against the registered workers: their kind of device, their memory, their speed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from adamss_core.spec import Device, Estimate, JobSpec, Lengths, ModelFacts
from adamss_core.spec.comparison_plan import time_of
from adamss_core.spec.contender_names import contenders_of
from adamss_core.spec.lengths import length_limit
from adamss_core.spec.memory import DeviceKind
from service.http.context import Caller
from service.jobs import repository
from service.shared.database.tables import Job
from service.shared.resources import Resources

COMPARED = 5  # finished jobs that a rate is taken from
SAME_SPEED = ("precision", "quantization", "gradient_checkpointing", "compile")  # as the jobs that a rate is taken from
SIZE_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def find_workers(caller: Caller) -> list[Resources]:
    """List the resources of the live workers."""
    with caller.db.read() as session:
        found = repository.live_resources(session, caller.settings.lease_seconds)
    return [Resources.model_validate(resources) for resources in found]


def device_of(workers: Sequence[Resources], asked: str | None = None) -> Device:
    """Return the kind of device that a job will train on: a GPU where any worker has one.

    Args:
        asked: the label of a kind that the job asks for.
    """
    has_gpu = any(worker.kind == "cuda" for worker in workers) if asked is None else asked != "cpu"
    kind: DeviceKind = "cuda" if has_gpu else "cpu"
    return Device(kind, bf16=any(worker.bf16 for worker in workers if worker.kind == kind))


def lacking_warnings(spec: JobSpec, workers: Sequence[Resources]) -> list[str]:
    """Warn of a precision or quantisation that no worker has."""
    training, warnings = spec.training, []
    if not workers:
        return []
    if training.precision == "fp16" and not any(worker.fp16 for worker in workers):
        warnings.append(
            "training.precision is fp16, which no worker can train in: it takes a GPU. Use auto, bf16 or fp32."
        )
    if training.quantization is not None and not any(worker.quantization for worker in workers):
        warnings.append(
            f"training.quantization is {training.quantization}, but no worker has bitsandbytes. Install it there (pip "
            "install 'adamss[quantized]'), or leave training.quantization out."
        )
    return warnings


def version_warnings(caller: Caller, version: int) -> list[str]:
    """Warn where no live worker understands this version of the spec."""
    with caller.db.read() as session:
        newest = repository.newest_live_version(session, caller.settings.lease_seconds)
    if newest is None or newest >= version:
        return []
    return [
        f"The job uses fields of version {version} of the spec, and the workers that are alive understand version "
        f"{newest} at most: it waits until a newer worker is started."
    ]


def expected_seconds(
    caller: Caller, spec: JobSpec, facts: ModelFacts, estimate: Estimate, lengths: Lengths
) -> float | None:
    """Return the time that a job takes at the rate of finished ones, by tokens where their lengths are known."""
    with caller.db.read() as session:
        jobs = repository.finished_with(session, caller.project_id, spec.base_model, spec.task, 4 * COMPARED)
    results = [job.result or {} for job in jobs if _alike(job, spec)]
    times = [_times(result) for result in results if result.get("device") == estimate.device]
    measured = [found for found in times if found is not None][:COMPARED]
    if not measured:
        return None
    rows = estimate.train_rows * estimate.steps / estimate.steps_per_epoch
    if lengths.source == "measured":
        per_token = median(seconds / tokens for seconds, _, tokens, _ in measured)
        training = rows * lengths.mean(length_limit(spec, facts, lengths)) * per_token
    else:
        training = rows * median(seconds / count for seconds, count, _, _ in measured)
    rest = median(rest for *_, rest in measured)
    # A contender makes the job's steps and evaluations, and loads the base; nothing of it is published.
    comparison = sum(training * time_of(contender) + rest / 2 for contender in contenders_of(spec))
    return round(training * (1 + (estimate.calibration_share or 0)) + rest + comparison, 1)


def _times(result: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """Return the seconds in training steps, the rows and tokens of them, and the seconds of everything else."""
    seconds, tokens = result.get("training_seconds"), result.get("train_tokens")
    if not seconds or not tokens or not result.get("epochs"):
        return None
    calibration = (result.get("calibration") or {}).get("seconds", 0.0)
    rest = max(0.0, result["seconds"] - seconds - calibration)
    return seconds, result["train_rows"] * result["epochs"], tokens * result["epochs"], rest


def _alike(job: Job, spec: JobSpec) -> bool:
    """Return whether two jobs agree in what changes the time of a token."""
    planned = job.resolved.get("spec", {})
    if planned.get("resources", {}).get("devices", 1) != spec.resources.devices:
        return False
    theirs, mine = planned.get("training", {}), spec.training
    return all(theirs.get(name) == getattr(mine, name) for name in SAME_SPEED)


def readable_size(size: float) -> str:
    """Format a number of bytes, such as `1.5 GB`."""
    unit = 0
    while size >= 1_000 and unit < len(SIZE_UNITS) - 1:
        size, unit = size / 1_000, unit + 1
    return f"{size:.3g} {SIZE_UNITS[unit]}"
