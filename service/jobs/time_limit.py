"""Tell the training time that a job may take: the smaller of its own limit and the operator's."""

from __future__ import annotations

from typing import Any

from adamss_core.spec import Estimate, JobSpec
from service.shared.settings import Settings

SPEC_FIELD, SETTING = "time_limit_seconds", "ADAMSS_JOB_TIME_LIMIT_SECONDS"


def effective_limit(settings: Settings, own: float | None) -> float:
    """Return the limit that holds, in seconds of training over all attempts.

    Args:
        own: the job's; None where it has none.
    """
    return min(settings.job_time_limit_seconds, settings.job_time_limit_seconds if own is None else own)


def planned_limit(settings: Settings, resolved: dict[str, Any]) -> float:
    """Return the limit of a stored plan; plans of older versions have the operator's."""
    planned: float | None = resolved.get(SPEC_FIELD)
    return settings.job_time_limit_seconds if planned is None else planned


def limit_warnings(settings: Settings, spec: JobSpec, needs: Estimate) -> list[str]:
    """Warn of an operator's smaller limit, and of one that the estimate says is too short."""
    own, limit = spec.time_limit_seconds, effective_limit(settings, spec.time_limit_seconds)
    warnings = []
    if own is not None and own > limit:
        warnings.append(
            f"{SPEC_FIELD} is {own:g}, but the operator's limit is smaller and holds: {limit:g} s ({SETTING})."
        )
    if needs.seconds is not None and needs.seconds > limit:
        remedy = f"Raise {SPEC_FIELD}" if own == limit else f"Ask the operator for a larger {SETTING}"
        warnings.append(
            f"The job needs about {needs.seconds:,.0f} s, but its training ends after {limit:,.0f} s, with the best "
            f"model by then, at about {limit / needs.seconds:.0%} of its steps. {remedy}, or train for fewer steps."
        )
    return warnings
