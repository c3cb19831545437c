"""The table of jobs, of jobs that no test needs to train."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from service.jobs.schemas import JobSummaryOut
from tests.browser.conftest import Tab
from tests.service.cli.test_jobs import JUDGEMENT, WARNING

CELLS = """() => [...document.querySelectorAll("tbody tr")].map((row) =>
    [...row.children].map((cell) => cell.innerText))"""
CUT_OFF = """() => {
    const room = document.querySelector(".scroll.card").getBoundingClientRect();
    const right = Math.min(room.right, document.documentElement.clientWidth);
    return [...document.querySelectorAll("table.jobs button, table.jobs a")]
        .filter((entry) => entry.getClientRects().length)
        .map((entry) => [entry.ariaLabel ?? entry.innerText, entry.getBoundingClientRect()])
        .filter(([, box]) => box.width < 1 || box.left < room.left || box.right > right)
        .map(([name, box]) => `${name}: ${box.left} to ${box.right} of ${room.left} to ${right}`);
}"""


def listed(number: int, **changes: Any) -> dict[str, Any]:
    """A job as the API lists it."""
    fields: dict[str, Any] = {
        "id": f"job_{number:020}",
        "name": "a job",
        "status": "succeeded",
        "progress": {"step": 16, "total_steps": 16, "epoch": 2.0, "eta_seconds": None},
        "asa": {"total": 16, "active": 6, "target": 6},
        "best_metric": {"name": "accuracy", "direction": "max"},
        "result": {"eval_accuracy": 0.5},
        "error": None,
        "attempt": 1,
        "tags": [],
        "group": None,
        "resumable": False,
        "task": "text-classification",
        "base_model": "tiny",
        "created_at": f"2026-01-{number + 1:02}T10:00:00Z",
        "queued_at": "2026-01-01T10:00:00Z",
        "started_at": None,
        "ended_at": None,
    }
    return JobSummaryOut.model_validate(fields | changes).model_dump(mode="json")


def show(tab: Tab, jobs: list[dict[str, Any]]) -> None:
    """Open the list with these jobs on it."""
    found = {"object": "list", "data": jobs, "has_more": False, "next": None}
    tab.page.route("**/jobs?*", lambda route: route.fulfill(json=found))
    tab.open("/")
    tab.page.reload()  # the list that the sign-in opened asks again only after a minute where no job runs
    tab.page.wait_for_function("count => document.querySelectorAll('tbody tr').length === count", arg=len(jobs))


def test_baseline_and_warning_stand_beside_the_metric(tab: Tab) -> None:
    show(tab, [listed(0, judgement=JUDGEMENT, warnings=[WARNING])])
    assert tab.page.evaluate(CELLS)[0][7].split("\n") == [
        "0.5",
        "accuracy",
        "baseline 0.5714",
        "no better than baseline",
    ]


def test_best_is_what_the_job_is_chosen_by_and_the_best_comes_first(tab: Tab) -> None:
    perplexity = {"name": "perplexity", "direction": "min"}
    f1 = {"name": "f1", "direction": "max"}
    jobs = [
        listed(0, best_metric=perplexity, result={"eval_loss": 3.0, "eval_perplexity": 20.0}),
        listed(1, best_metric=perplexity, result={"eval_loss": 1.5, "eval_perplexity": 4.5}),
        listed(2, best_metric=f1, result={"eval_accuracy": 0.99, "eval_f1": 0.75}),
        listed(3, best_metric=f1, result=None),
    ]
    show(tab, jobs)
    for _ in range(2):
        tab.page.get_by_role("button", name="Best").click()
    cells = [row[7].split("\n") for row in tab.page.evaluate(CELLS)]
    assert cells == [["0.75", "f1"], ["4.5", "perplexity"], ["20", "perplexity"], ["\u2013"]]


@pytest.mark.parametrize("width", [820, 1024, 1280, 1440, 1920])
def test_no_button_of_the_table_is_cut_off(tab: Tab, width: int) -> None:
    model = "some-organisation/A-Model-With-A-Long-Name-7B-Instruct"
    progress = {"step": 12_345, "total_steps": 100_000, "epoch": 1.0, "eta_seconds": 123_456.0}
    long = {
        "task": "token-classification",
        "base_model": model,
        "asa": {"total": 1920, "active": 1920, "target": 960},
        "progress": progress,
    }
    names = ["a name of many words that goes on and on " * 3, "anamewithoutanyspaceinit" * 8, "short"]
    states = ["running", "queued", "paused", "cancelling", "succeeded", "failed"]
    perplexity = {"best_metric": {"name": "perplexity", "direction": "min"}, "result": {"eval_perplexity": 1234.5}}
    perplexity |= {"judgement": JUDGEMENT, "warnings": [WARNING]}
    jobs = [
        listed(number, name=names[number % 3], status=status, **long, **perplexity)
        for number, status in enumerate([*states, *reversed(states)])
    ]
    tab.page.set_viewport_size({"width": width, "height": 900})
    show(tab, jobs)
    if folder := os.environ.get("ADAMSS_TEST_PICTURES"):
        tab.page.screenshot(path=Path(folder) / f"jobs-{width}.png")
    assert tab.page.evaluate(CUT_OFF) == []
