"""Derive from a planned job what the worker that claims it must have free."""

from __future__ import annotations

from sqlalchemy.orm import Session

from adamss_core.spec import JobSpec
from adamss_core.spec.resources_spec import GIGABYTE, ResourcesSpec
from service.jobs import repository
from service.jobs.schemas import PlanOut
from service.shared.jobs.states import Needs


def needs_of_plan(session: Session, plan: PlanOut, live_seconds: float) -> Needs:
    """Return the devices of a planned job, with the memory that it asks for or is estimated to take on each.

    Where no device of a live worker has as much, one that is enough for a row at a time will do: the run halves its
    batches there. The plan has warned of it.
    """
    asked = needs_alone(plan.spec)
    memory = asked.memory
    if memory is None:
        estimates = (plan.estimate.memory_bytes, plan.estimate.least_memory_bytes or 0)
        largest = repository.largest_device(session, live_seconds, asked.kind)
        memory = next((size for size in estimates if largest is not None and 0 < size <= largest), None)
    return Needs(plan.spec.resources.devices, asked.kind, memory)


def needs_alone(spec: JobSpec) -> Needs:
    """Return the needs of a job that evaluates or publishes: one device of the kind that the training asks for."""
    asked = spec.resources
    return Needs(1, asked.kind, None if asked.memory_gb is None else round(asked.memory_gb * GIGABYTE))


def one_device_warnings(resources: ResourcesSpec) -> list[str]:
    """Say that a job takes one device where its training took several."""
    if resources.devices == 1:
        return []
    return [
        f"The training asks for {resources.devices} devices. This job trains nothing and takes one: it gains nothing "
        "by several."
    ]


def with_one_device(resources: ResourcesSpec) -> ResourcesSpec:
    """Return the block of a job that gains nothing by several devices."""
    return resources.model_copy(update={"devices": 1, "shard": "auto"})
