"""Types of a comparison of two runs."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from service.client.types import JudgementJson


class DifferenceJson(TypedDict):
    """A field of the specs that differs."""

    field: str
    job: Any
    other: Any


class ComparedMetricJson(TypedDict):
    """A metric of both jobs."""

    name: str
    job: float | None
    other: float | None
    difference: float | None


class PairedTestJson(TypedDict):
    """Whether two models differ on the same rows."""

    data: Literal["train", "eval", "test"]
    rows: int
    measure: str
    method: str
    difference: float
    low: float
    high: float
    p_value: float | None
    differ: bool


class RunComparisonJson(TypedDict):
    """Two runs beside each other."""

    job: str
    other: str
    is_baseline: bool
    differences: list[DifferenceJson]
    metrics: list[ComparedMetricJson]
    judgements: list[JudgementJson | None]
    paired: PairedTestJson | None
    not_paired: str | None
