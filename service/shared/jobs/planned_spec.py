"""Read the spec that a job was planned with."""

from __future__ import annotations

from adamss_core.spec import JobSpec
from service.shared.database.tables import Job


def planned_spec(job: Job) -> JobSpec:
    """Return the job's spec with every number filled in; the spec as sent, where the row holds no plan.

    Raises:
        pydantic.ValidationError: this version does not understand the row's spec.
    """
    return JobSpec.model_validate(job.resolved.get("spec") or job.spec)
