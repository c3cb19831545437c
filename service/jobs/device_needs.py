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

    An estimate that no device of a live worker reaches is left out: it may be too high, and the run halves its batches
    where it is not. The plan has warned of it.
    """
    asked = needs_alone(plan.spec)
    memory = asked.memory
    if memory is None:
        estimated = plan.estimate.memory_bytes
        largest = repository.largest_device(session, live_seconds, asked.kind)
        memory = estimated if largest is not None and estimated <= largest else None
    return Needs(plan.spec.resources.devices, asked.kind, memory)


def needs_alone(spec: JobSpec) -> Needs:
    """Return the needs of a job that evaluates or publishes: one device of the kind that the training asks for."""
    asked = spec.resources
    return Needs(1, asked.kind, None if asked.memory_gb is None else round(asked.memory_gb * GIGABYTE))


def with_one_device(resources: ResourcesSpec) -> ResourcesSpec:
    """Return the block of a job that gains nothing by several devices."""
    return resources.model_copy(update={"devices": 1, "shard": "auto"})
