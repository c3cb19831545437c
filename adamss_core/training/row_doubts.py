"""Doubt a result for the rows that it was measured on, whatever the model makes of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from adamss_core.spec.measured_rows import (
    FEW_HELD_OUT_ROWS,
    FIELDS,
    NOT_EVALUATED,
    NOT_TRAINED_ON,
    UNKNOWN_LABELS,
    classes_not_evaluated,
    classes_not_trained_on,
    few_measured_rows,
)
from adamss_core.training.request import Reporter


@dataclass(frozen=True)
class MeasuredClasses:
    """Classes of a model and of the rows that it is evaluated on; all empty where nothing is classified.

    Attributes:
        known: that the model tells apart.
        trained, evaluated: that have a row.
        group: the column whose values are held out as a whole, if any.
        unknown: in words, the rows that are left out because of their labels; empty where there are none.
    """

    known: Collection[str]
    trained: Collection[str]
    evaluated: Collection[str]
    group: str | None = None
    unknown: str = ""


def doubt_rows(
    report: dict[str, Any], reporter: Reporter, classes: MeasuredClasses, field: str | None = None
) -> list[dict[str, Any]]:
    """Return the warnings of a report's rows, as results and reports have them, and report them as events.

    Args:
        field: that decides which rows are evaluated; None where the report's kind of rows tells.
    """
    data = report["data"]
    field = field or FIELDS[data]
    found = {
        FEW_HELD_OUT_ROWS: few_measured_rows(report["rows"], field),
        NOT_EVALUATED: classes_not_evaluated(classes.known, classes.evaluated, field),
        NOT_TRAINED_ON: classes_not_trained_on(classes.trained, classes.evaluated, classes.group),
        UNKNOWN_LABELS: classes.unknown or None,
    }
    warnings = [
        {"code": code, "message": message, "data": data, "causes": []}
        for code, message in found.items()
        if message is not None
    ]
    for warning in warnings:
        if warning["code"] == UNKNOWN_LABELS:
            continue  # an event since the rows were read
        reporter.event(warning["code"], warning["message"], {"data": data, "rows": report["rows"]})
    return warnings
