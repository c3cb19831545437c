"""Say what the contenders of a job cost, before it runs."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from adamss_core.spec.contender_names import Contender, contenders_of
from adamss_core.spec.facts import LinearModule
from adamss_core.spec.plan import Plan

# Time of a step beside one of the job's own, as measured (docs/decisions/0158-comparison.md).
TIME_OF_HEAD, TIME_OF_LORA = 0.5, 1.0


class ContenderEstimate(BaseModel):
    """Describe what a contender trains, and how long."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    contender: str
    """Its name, as in `compare`."""
    steps: int
    """Optimizer steps, as many as the job's own."""
    adapter_parameters: int
    """Elements of A and B."""
    head_parameters: int
    """Elements of the head and other modules in full, as of the job."""
    learning_rate: float | None
    """Peak rate of A and B; null for the head alone, which has the job's `head_learning_rate`."""


def contender_estimates(plan: Plan, modules: Sequence[LinearModule], in_full: int) -> list[ContenderEstimate]:
    """Return the numbers of each contender, in the job's order.

    Args:
        modules: that the job adapts.
        in_full: elements of its modules in full.
    """
    return [
        ContenderEstimate(
            contender=contender.name,
            steps=plan.total_steps,
            adapter_parameters=contender.elements(modules),
            head_parameters=in_full,
            learning_rate=contender.learning_rate(plan.spec.training.learning_rate),
        )
        for contender in contenders_of(plan.spec)
    ]


def time_of(contender: Contender) -> float:
    """Return the time of a contender's training, in multiples of that of the job's own."""
    return TIME_OF_HEAD if contender.rank is None else TIME_OF_LORA
