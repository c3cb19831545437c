"""Replacement of a submitted job's plan by the plan that its run reports."""

from __future__ import annotations

from typing import Any

from adamss_core.spec import SCHEDULE_FIELDS, Plan, schedule
from adamss_core.training.request import AdapterSize


def resolved_by_run(resolved: dict[str, Any], plan: Plan, size: AdapterSize) -> dict[str, Any]:
    """Replace planned steps, ASA schedule and trained parameters by the run's own; all else stays as submitted.

    Args:
        resolved: column of the job.
        plan: plan derived by the run from its rows.
        size: counts of the adapter that the run has made.
    """
    if "spec" not in resolved:
        return resolved
    adamss = plan.spec.adamss
    spec = resolved["spec"]
    numbers = adamss.model_dump(mode="json", include=set(SCHEDULE_FIELDS))
    counted = {
        "steps": plan.total_steps,
        "steps_per_epoch": plan.steps_per_epoch,
        "trainable_parameters": size.trainable_parameters,
        "least_trainable_parameters": size.trainable_parameters,
        "range_reason": None,
        "adapter_parameters": size.adapter_parameters,
        "elements": size.elements(adamss).model_dump(),
        "head_parameters": size.head_parameters,
    }
    return resolved | {
        "spec": spec | {"adamss": spec["adamss"] | numbers},
        "estimate": resolved.get("estimate", {}) | counted,
        "schedule": [step.model_dump(mode="json") for step in schedule(adamss, size.subspaces)],
    }
