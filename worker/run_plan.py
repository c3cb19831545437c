"""Replacement of a submitted job's plan by the plan that its run reports."""

from __future__ import annotations

from typing import Any

from adamss_core.spec import SCHEDULE_FIELDS, Plan, schedule


def resolved_by_run(resolved: dict[str, Any], plan: Plan, subspaces: int) -> dict[str, Any]:
    """Replace planned steps and ASA schedule by the run's own; everything else stays as submitted.

    Args:
        resolved: column of the job.
        plan: plan derived by the run from its rows.
        subspaces: number over all modules, at the start.
    """
    if "spec" not in resolved:
        return resolved
    adamss = plan.spec.adamss
    spec = resolved["spec"]
    numbers = adamss.model_dump(mode="json", include=set(SCHEDULE_FIELDS))
    steps = {"steps": plan.total_steps, "steps_per_epoch": plan.steps_per_epoch}
    return resolved | {
        "spec": spec | {"adamss": spec["adamss"] | numbers},
        "estimate": resolved.get("estimate", {}) | steps,
        "schedule": [step.model_dump(mode="json") for step in schedule(adamss, subspaces)],
    }
