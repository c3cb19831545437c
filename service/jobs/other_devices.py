"""Plan an existing job for another number of devices."""

from __future__ import annotations

from sqlalchemy.orm import Session

from adamss_core.spec import JobSpec
from service.http.context import Caller
from service.jobs.device_needs import needs_of_plan
from service.jobs.planning import plan_job
from service.jobs.schemas import PlanOut
from service.jobs.service import get
from service.shared.database.tables import Job
from service.shared.errors import Conflict

MEMORY_FIELDS = ("devices", "sharded", "memory_bytes", "least_memory_bytes", "enough_devices", "memory_phases")


def plan_devices(caller: Caller, job_id: str, devices: int) -> PlanOut:
    """Return the plan of a job on other devices; nothing else of it differs.

    Raises:
        Conflict: the job trains nothing, and takes one device.
        InvalidRequest: no worker has the devices or the memory, or the job cannot be planned any more.
    """
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        if job.evaluates is not None or job.inspects is not None or "publishes" in job.resolved:
            raise Conflict(
                "The job trains nothing: it takes one device. Resume it without resources.",
                code="no_training",
                param="resources.devices",
            )
        spec = JobSpec.model_validate(job.spec)
    resources = spec.resources.model_copy(update={"devices": devices})
    return plan_job(caller, spec.model_copy(update={"resources": resources}))


def move(session: Session, job: Job, plan: PlanOut, live_seconds: float) -> None:
    """Write the devices into spec and plan, and into what the choice of the next job asks for."""
    resources = plan.spec.resources.model_dump(mode="json")
    job.spec = job.spec | {"resources": job.spec.get("resources", {}) | {"devices": plan.spec.resources.devices}}
    estimate = plan.estimate.model_dump(mode="json")
    job.resolved = job.resolved | {
        "spec": job.resolved["spec"] | {"resources": resources},
        "estimate": job.resolved["estimate"] | {name: estimate[name] for name in MEMORY_FIELDS},
        "warnings": plan.warnings,
    }
    needs = needs_of_plan(session, plan, live_seconds)
    job.devices, job.device_kind, job.device_memory = needs.devices, needs.kind, needs.memory
    job.spec_version = max(job.spec_version, plan.spec_version)
    session.flush()
