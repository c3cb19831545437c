"""The plan that a run reports, put in the place of the one that was made when the job was submitted."""

from __future__ import annotations

from typing import Any

from adamss_core.spec import SCHEDULE_FIELDS, Plan, schedule


def resolved_by_run(resolved: dict[str, Any], plan: Plan, subspaces: int) -> dict[str, Any]:
    """Replace planned steps and ASA schedule by the run's own; everything else stays as it was submitted.

    Args:
        resolved: the job's, as JSON.
        plan: what the run derived from the rows that it trains on.
        subspaces: over all modules, at the start.
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
