"""Fill in a job's `training` values from its task's preset; `adamss` keeps PEFT's own defaults."""

from __future__ import annotations

from adamss_core.spec.job import JobSpec
from adamss_core.spec.tasks import record_of


def with_defaults(spec: JobSpec) -> JobSpec:
    """Fill in every field of `training` that was not set with the value of the task's first preset; idempotent.

    The preset's accumulation belongs to the preset's batch size: a batch size that the job gives is not multiplied.
    """
    given = spec.training.model_fields_set
    values = dict(record_of(spec).presets[0].training)
    if "batch_size" in given:
        values["gradient_accumulation_steps"] = 1
    missing = {name: value for name, value in values.items() if name not in given}
    return spec.model_copy(update={"training": spec.training.model_copy(update=missing)}) if missing else spec
