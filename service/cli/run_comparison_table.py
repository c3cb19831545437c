"""The command `adamss jobs compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import JobId, Json, connect, examples, number, print_table
from service.cli.terminal import put, put_json

if TYPE_CHECKING:
    from service.client.comparison_types import RunComparisonJson

COMPARE = examples(
    "adamss jobs edit JOB --baseline    others of its group are compared with it",
    "adamss jobs compare JOB            with the baseline",
    "adamss jobs compare JOB OTHER_JOB",
)


def compare(
    job: JobId,
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="The other job; by default the baseline.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two runs: specs, metrics, and whether the same rows show a difference."""
    with connect() as client:
        found = client.compare(job, other)
    if as_json:
        put_json(found)
        return
    rows = [[one["field"], number(one["job"]), number(one["other"]), "-"] for one in found["differences"]]
    rows += [[one["name"], *(number(one[side]) for side in ("job", "other", "difference"))] for one in found["metrics"]]
    print_table(["FIELD OR METRIC", found["job"], found["other"], "DIFFERENCE"], rows, "Both are the same.")
    put(_sentence(found))


def _sentence(found: RunComparisonJson) -> str:
    paired = found["paired"]
    if paired is None:
        return f"No paired test: {found['not_paired']}"
    says = "differ" if paired["differ"] else "show no difference"
    p_value = "" if paired["p_value"] is None else f", p {paired['p_value']:.3g}"
    return (
        f"On the same {paired['rows']} rows the runs {says}: {paired['measure']} {paired['difference']:+.4f} "
        f"({paired['low']:+.4f} to {paired['high']:+.4f}, {paired['method']}{p_value})."
    )
