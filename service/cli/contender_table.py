"""The table of a job's own adapter beside its contenders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from service.cli.output import print_table
from service.cli.terminal import put

if TYPE_CHECKING:
    from service.client.types import ComparisonJson, ContenderJson, JobJson, MeasuredJson

OWN = "adamss"


def print_comparison(job: JobJson) -> None:
    """Print the table, where the job names contenders and its own adapter is trained."""
    if (compared := job.get("comparison")) is None:
        return
    put("", f"Compared by {compared['metric']}, on the same rows; intervals are of {compared['level']:.0%}.")
    print_table(titles(compared), list(lines(compared)), "Nothing is trained yet.")
    if compared["gain_over"] is not None:
        put(f"PER 1000: gain over {compared['gain_over']} for a thousand elements of A and B.")


def contender_fact(job: JobJson) -> dict[str, object]:
    """Return the contender that is trained at the moment, for a list of facts; nothing at any other time."""
    running = job["progress"].get("contender")
    if running is None:
        return {}
    return {"comparing": f"{running['contender']}, step {running['step']}/{running['steps']}"}


def contender_line(planned: dict[str, Any]) -> str:
    """Format what a contender trains, from a dry run."""
    rate = "" if planned["learning_rate"] is None else f" at {planned['learning_rate']:g}"
    elements = (
        f"{planned['adapter_parameters']:,} elements of A and B{rate}, {planned['head_parameters']:,} of the head"
    )
    return f"{planned['steps']} more steps, {elements}"


def titles(compared: ComparisonJson) -> list[str]:
    """Return the titles of the columns."""
    return ["", "ELEMENTS", "HEAD", "RATE", compared["metric"].upper(), "INTERVAL", "DIFFERENCE", "PER 1000"]


def lines(compared: ComparisonJson) -> Iterator[list[str]]:
    """Yield a line for each model, with one more for the test data, if there are any."""
    for entry in compared["contenders"]:
        name = "AdaMSS (this job)" if entry["contender"] == OWN else entry["contender"]
        if (error := entry["error"]) is not None:
            yield [name, "", "", "", "failed", error["code"], error["message"], ""]
            continue
        gain = "" if entry["gain_per_thousand"] is None else f"{entry['gain_per_thousand']:+.4f}"
        yield [name, *_sizes(entry), *_scores(entry["held_out"], compared["metric"]), gain]
        if entry["test"] is not None:
            yield ["  on test data", "", "", "", *_scores(entry["test"], compared["metric"]), ""]


def _sizes(entry: ContenderJson) -> list[str]:
    rate = "" if entry["learning_rate"] is None else f"{entry['learning_rate']:g}"
    return [f"{entry['adapter_parameters'] or 0:,}", f"{entry['head_parameters'] or 0:,}", rate]


def _scores(measured: MeasuredJson | None, metric: str) -> list[str]:
    """Return value, interval and difference."""
    if measured is None:
        return ["not evaluated", "", ""]
    interval = "" if measured["low"] is None else f"{measured['low']:.4f} to {measured['high']:.4f}"
    difference = "" if measured["difference"] is None else f"{measured['difference']:+.4f}"
    if measured["difference_low"] is not None:
        difference += f" ({measured['difference_low']:+.4f} to {measured['difference_high']:+.4f})"
    return [_value(measured["metrics"].get(metric)), interval, difference]


def _value(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
