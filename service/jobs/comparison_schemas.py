"""The comparison of a job's adapter with its contenders, as the API shows it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from adamss_core.spec.tasks.metrics import Direction
from service.http.openapi import Out
from service.shared.database.tables import TERMINAL, Job


class ContenderProgressOut(Out):
    """The contender that is trained at the moment; the job's own artifacts and numbers are complete by then."""

    contender: str
    """Its name."""
    place: int
    """Its place among the contenders, from 1."""
    step: int
    """Optimizer steps that are done."""
    steps: int
    """Optimizer steps in all, as many as the job's own training made."""
    eta_seconds: float | None
    """Seconds that are left of its training, as far as can be said."""


class MeasuredOut(Out):
    """What one of the compared models does on some rows."""

    rows: int
    """Rows that all of them are measured on."""
    metrics: dict[str, float | None]
    """The job's metrics and the loss."""
    low: float | None
    """Lower bound of the confidence interval of the compared metric; null where it has none."""
    high: float | None
    """Upper bound of it."""
    method: str | None
    """Method of the interval, as of the job's judgement."""
    difference: float | None
    """The compared metric less that of the job's own adapter; null for that itself."""
    difference_low: float | None
    """Lower bound of the difference's interval, by drawing the rows again for both at once."""
    difference_high: float | None
    """Upper bound of it."""
    difference_method: str | None
    """Method of the difference's interval."""


class ContenderOut(Out):
    """One of the compared models."""

    contender: str
    """Its name as in `compare`, or "adamss" for the job's own adapter."""
    status: Literal["trained", "failed"]
    """A contender that failed does not fail the job."""
    adapter_parameters: int | None
    """Elements of A and B; of the job's own adapter those in the published delta, frozen ones included."""
    head_parameters: int | None
    """Elements of the head and other modules in full."""
    learning_rate: float | None
    """Peak rate of A and B; null without them."""
    head_learning_rate: float | None
    """Peak rate of the head."""
    step: int | None
    """Step of the evaluation that was the best."""
    steps: int | None
    """Optimizer steps that were made."""
    seconds: float | None
    """Time of these steps."""
    held_out: MeasuredOut | None
    """On the held-out rows."""
    test: MeasuredOut | None
    """On the rows of `dataset.test`."""
    error: dict[str, Any] | None
    """Code, message and hint of a contender that failed."""
    gain_per_thousand: float | None
    """Improvement of the compared metric over `gain_over`, on the held-out rows, for each thousand elements of A and
    B."""


class ComparisonOut(Out):
    """The job's own adapter beside its contenders: trained on the same batches, with the same steps and seed."""

    metric: str
    """The compared metric, which also chose each checkpoint."""
    direction: Direction
    """Whether larger ("max") or smaller ("min") values of it are better."""
    level: float
    """Confidence level of all intervals."""
    planned: list[str]
    """The contenders of the job; those that are missing below are not trained yet."""
    gain_over: str | None
    """What an adapter has to add to: "head" where the head alone is a contender, else the baseline's answers in words;
    null where neither is known."""
    contenders: list[ContenderOut] = Field(default=[])
    """The job's own adapter first, then each contender that has been trained."""


def contender_progress(job: Job) -> dict[str, Any] | None:
    """Return the contender under way; None of a job that has ended, whatever it was stopped in."""
    comparison = (job.result or {}).get("comparison") or {}
    return None if job.status in TERMINAL else comparison.get("running")
