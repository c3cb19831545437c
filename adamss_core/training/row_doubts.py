"""Doubt a result for the rows that it was measured on, whatever the model makes of them."""

from __future__ import annotations

from typing import Any

from adamss_core.spec.measured_rows import FEW_HELD_OUT_ROWS, FIELDS, few_measured_rows
from adamss_core.training.request import Reporter


def doubt_rows(report: dict[str, Any], reporter: Reporter, field: str | None = None) -> list[dict[str, Any]]:
    """Return the warnings of a report's rows, as results and reports have them, and report them as events.

    Args:
        field: that decides which rows are evaluated; None where the report's kind of rows tells.
    """
    data = report["data"]
    found = {FEW_HELD_OUT_ROWS: few_measured_rows(report["rows"], field or FIELDS[data])}
    warnings = [
        {"code": code, "message": message, "data": data, "causes": []}
        for code, message in found.items()
        if message is not None
    ]
    for warning in warnings:
        reporter.event(warning["code"], warning["message"], {"data": data, "rows": report["rows"]})
    return warnings
