"""Tables of `adamss jobs evaluation`."""

from __future__ import annotations

from typing import Any

from service.cli.output import print_fields, print_table
from service.cli.terminal import put

TITLES = {"train": "held-out rows of dataset.train", "eval": "rows of dataset.eval", "test": "rows of dataset.test"}
CLASSES = {"classes": "CLASS", "entities": "ENTITY", "tags": "TAG"}


def print_report(report: dict[str, Any]) -> None:
    """Print the parts that a report has."""
    put(f"On {report['rows']} {TITLES[report['data']]}:")
    _metrics(report)
    for part in (_classes, _confusion, _residuals, _generation):
        part(report)
    for warning in report["warnings"]:
        put(f"warning: {warning['code']}: {warning['message']}")


def _metrics(report: dict[str, Any]) -> None:
    baseline = report["baseline"] or {}
    put(f"baseline: {baseline.get('predicts', 'unknown')}")
    lines = [[name, _number(value), _number(baseline.get(name))] for name, value in report["metrics"].items()]
    print_table(["METRIC", "MODEL", "BASELINE"], lines, "")
    judgement = report["judgement"]
    if judgement and judgement["low"] is not None:
        bounds = f"{judgement['low']:.4f} to {judgement['high']:.4f}"
        put(f"{judgement['level']:.0%} interval of {judgement['metric']} ({judgement['method']}): {bounds}")


def _classes(report: dict[str, Any]) -> None:
    if not report["classes"]:
        return
    names = ["expected", "predicted", "right", "precision", "recall", "f1"]
    lines = [[entry["name"], *(_number(entry[name]) for name in names)] for entry in report["classes"]]
    put("")
    print_table([CLASSES[report["classes_are"]], *(name.upper() for name in names)], lines, "")


def _confusion(report: dict[str, Any]) -> None:
    if matrix := report["confusion"]:
        put("", "Expected (rows) and predicted (columns):")
        lines = [[name, *counts] for name, counts in zip(matrix["names"], matrix["counts"], strict=True)]
        print_table(["", *matrix["names"]], lines, "")
    elif report["confused"]:
        put("")
        lines = [[entry["expected"], entry["predicted"], entry["rows"]] for entry in report["confused"]]
        print_table(["EXPECTED", "PREDICTED", "ROWS"], lines, "")


def _residuals(report: dict[str, Any]) -> None:
    if (found := report["residuals"]) is None:
        return
    put("", "Predicted less expected:")
    fields = {name.replace("_", " "): _number(found[name]) for name in ("mean", "mean_absolute", "root_mean_square")}
    print_fields(fields | {f"{entry['share']:.0%} below": _number(entry["value"]) for entry in found["quantiles"]})
    edges, rows = found["histogram"]["edges"], found["histogram"]["rows"]
    lines = [[_number(low), _number(high), count] for low, high, count in zip(edges, edges[1:], rows, strict=False)]
    print_table(["FROM", "TO", "ROWS"], lines, "")


def _generation(report: dict[str, Any]) -> None:
    if (found := report["generation"]) is None:
        return
    put("", f"Of {found['rows']} written answers:")
    print_fields({name.replace("_", " "): f"{found[name]:.4f}" for name in ("exact_match", "rouge_l", "ended")})
    lines = [
        [entry["row"], _number(entry["rouge_l"]), entry["expected"], entry["answer"]] for entry in report["answers"]
    ]
    print_table(["ROW", "ROUGE-L", "EXPECTED", "ANSWER"], lines, "")


def _number(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value
