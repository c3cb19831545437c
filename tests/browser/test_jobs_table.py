"""The table of jobs, of jobs that no test needs to train."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.jobs.schemas import JobSummaryOut
from tests.browser.conftest import Tab
from tests.browser.geometry import WIDTHS, clipped
from tests.service.cli.test_jobs import JUDGEMENT, WARNING

COUNT = "count => document.querySelectorAll('tbody tr[data-job]').length === count"
NAMES = "() => [...document.querySelectorAll('tbody .job-name')].map((link) => link.innerText)"
TITLES = "() => [...document.querySelectorAll('thead button')].map((button) => button.innerText.replace(/ [▲▼]/, ''))"


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


def show(tab: Tab, jobs: list[dict[str, Any]], view: str = "/") -> None:
    """Open the list with these jobs on it."""
    found = {"object": "list", "data": jobs, "has_more": False, "next": None}
    tab.page.route("**/jobs?*", lambda route: route.fulfill(json=found))
    tab.page.goto("about:blank")  # the list that the sign-in opened asks again only after a minute where no job runs
    tab.open(view)


def test_baseline_interval_and_warning_stand_under_the_metric(tab: Tab) -> None:
    show(tab, [listed(0, judgement=JUDGEMENT, warnings=[WARNING])])
    shown = tab.page.locator("tbody .of-best").inner_text().split("\n")
    assert shown == ["50 % Accuracy", "38.7 % to 78.1 %", "baseline 57.1 %", "no better than baseline"]


def test_the_best_comes_first_whatever_the_metric_s_direction(tab: Tab) -> None:
    perplexity = {"name": "perplexity", "direction": "min"}
    f1 = {"name": "macro_f1", "direction": "max"}
    jobs = [
        listed(0, best_metric=perplexity, result={"eval_loss": 3.0, "eval_perplexity": 20.0}),
        listed(1, best_metric=perplexity, result={"eval_loss": 1.5, "eval_perplexity": 4.5}),
        listed(2, best_metric=f1, result={"eval_accuracy": 0.99, "eval_macro_f1": 0.75}),
        listed(3, best_metric=f1, result=None),
    ]
    show(tab, jobs)
    for _ in range(2):
        tab.page.get_by_role("button", name="Result").click()
    values = [text.split()[0] for text in tab.page.locator("tbody .of-best").all_inner_texts()]
    assert values == ["75", "4.5", "20", "\u2013"]
    assert "sort=-best" in tab.page.url


def test_columns_are_those_that_the_jobs_have(tab: Tab) -> None:
    """Jobs of one task have its metrics as columns; without pruning there is no column of subspaces."""
    result = {"eval_accuracy": 0.5, "eval_macro_f1": 0.4, "eval_loss": 0.7, "eval_samples_per_second": 9.0}
    jobs = [listed(0, result=result, asa=None), listed(1, result=result, asa=None)]
    other = listed(2, task="text-generation", best_metric={"name": "perplexity", "direction": "min"})
    show(tab, [*jobs, other])
    assert tab.page.evaluate(TITLES) == ["Job", "Status", "Task and model", "Subspaces", "Result", "Submitted"]
    tab.page.locator("select[name=task]").select_option("text-classification")
    tab.page.wait_for_function(COUNT, arg=2)
    assert tab.page.evaluate(TITLES) == ["Job", "Status", "Model", "Accuracy", "Macro F1", "Loss", "Submitted"]
    assert tab.page.locator("tbody .of-macro_f1").first.inner_text() == "40 %"


def test_filters_stand_in_the_address_and_are_kept(tab: Tab) -> None:
    jobs = [
        listed(0, name="first", tags=["keep"], group="rates"),
        listed(1, name="second", status="failed", error={"code": "out_of_memory", "message": "x"}, tags=["keep"]),
        listed(2, name="third", status="running", group="rates"),
    ]
    page = tab.page
    show(tab, jobs, "/jobs?tag=keep&status=ended")
    assert page.evaluate(NAMES) == ["second", "first"]
    assert "out of memory" in page.locator("tbody .of-status").first.inner_text()
    page.get_by_label("Status").select_option("failed")
    page.wait_for_function(COUNT, arg=1)
    assert page.url.endswith("#/jobs?tag=keep&status=failed")
    page.get_by_role("button", name="Save this filter").click()
    page.get_by_label("Name of the filter").fill("broken")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("link", name="All jobs").click()
    page.wait_for_function(COUNT, arg=3)
    page.reload()
    page.get_by_role("link", name="broken", exact=True).click()
    page.wait_for_function(COUNT, arg=1)
    page.get_by_role("button", name="Forget the filter broken").click()
    page.locator("tbody .tag").click()  # leads to all jobs with the tag
    page.wait_for_function(COUNT, arg=2)
    assert page.get_by_role("link", name="broken").count() == 0


def test_jobs_of_a_group_stand_together_and_fold(tab: Tab) -> None:
    jobs = [listed(0, name="one", group="rates"), listed(1, name="alone"), listed(2, name="two", group="rates")]
    show(tab, jobs, "/jobs?by=group")
    page = tab.page
    assert page.evaluate(NAMES) == ["two", "one", "alone"]
    assert page.locator(".group-head").all_inner_texts() == ["▾ rates 2 jobs", "▾ none 1 job"]
    page.get_by_role("button", name="rates").click()
    page.wait_for_function(COUNT, arg=1)
    assert page.evaluate(NAMES) == ["alone"]


def test_actions_are_a_menu_for_the_keyboard_too(tab: Tab) -> None:
    show(tab, [listed(0, name="mine")])
    page = tab.page
    button = page.get_by_role("button", name="Actions of mine")
    button.focus()
    page.keyboard.press("Enter")
    focused = "text => document.activeElement.innerText === text"
    page.wait_for_function(focused, arg="Delete")
    for entry in ("Clone", "Sweep"):
        page.keyboard.press("ArrowDown")
        page.wait_for_function(focused, arg=entry)
    page.keyboard.press("End")
    page.wait_for_function(focused, arg="Name, tags, notes")
    page.keyboard.press("ArrowDown")
    page.wait_for_function(focused, arg="Delete")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.activeElement.ariaLabel === 'Actions of mine'")
    assert page.locator("[role=menu]").is_hidden()
    button.click()
    page.get_by_role("menuitem", name="Clone").click()
    page.wait_for_url(f"**/#/new?from={listed(0)['id']}")
    page.goto("about:blank")  # the job that the form would copy does not exist
    tab.complaints.clear()


def test_notes_are_seen_and_searched(tab: Tab) -> None:
    show(tab, [listed(0, notes="rate too high", name="mine"), listed(1)])
    page = tab.page
    assert "rate too high" in page.locator("tbody .of-name").last.inner_text()
    page.get_by_label("Search").fill("too high")
    page.wait_for_function(COUNT, arg=1)
    page.get_by_role("button", name="Actions of mine").click()
    leads = page.get_by_role("menuitem", name="Name, tags, notes").get_attribute("href")
    assert leads == f"#/jobs/{listed(0)['id']}?edit=1"


def test_why_a_job_waits_is_said(tab: Tab) -> None:
    start = (datetime.now(UTC) + timedelta(minutes=10, seconds=30)).isoformat()
    times = {"expected_start": start, "earliest_start": start, "latest_start": start}
    queue = {"place": 3, "reason": "needs 2 devices of kind h100: 1 is free", **times}
    waits = listed(0, status="queued", result=None)
    jobs = [waits | {"queue": queue}, listed(1, status="queued", devices=2, device_kind="a10", priority=5)]
    show(tab, jobs)
    shown = [text.split("\n")[1] for text in tab.page.locator("tbody .of-status").all_inner_texts()]
    assert shown[0] == "needs 2 devices of kind a10, priority 5"
    assert shown[1].startswith(f"place 3, {queue['reason']}, starts in about 10 min")
    models = tab.page.locator("tbody .of-model").all_inner_texts()
    assert models == ["tiny on 2 devices (a10)", "tiny"]


def test_the_devices_that_a_job_runs_on_are_named(tab: Tab) -> None:
    gpus = [{"name": f"cuda:{place}", "kind": "h100"} for place in range(2)]
    show(tab, [listed(0, devices=2, runs_on=gpus), listed(1, runs_on=gpus[:1])])
    assert tab.page.locator("tbody .of-model").all_inner_texts() == ["tiny", "tiny on cuda:0, cuda:1 (h100)"]


def test_of_thousands_of_jobs_only_the_rows_near_the_screen_exist(tab: Tab) -> None:
    jobs = [listed(number, name=f"run {number}", created_at="2026-01-01T10:00:00Z") for number in range(2_000)]
    show(tab, jobs)
    page = tab.page
    page.wait_for_selector("text=2,000 jobs")
    assert page.locator("tbody tr").count() < 200
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_selector("text='run 1999'")
    assert page.locator("tbody tr").count() < 200
    assert page.locator("text='run 0'").count() == 0


def test_the_chosen_jobs_stay_chosen_while_another_view_is_shown(tab: Tab) -> None:
    show(tab, [listed(number) for number in range(3)])
    boxes = tab.page.locator("tbody input[type=checkbox]")
    for place in (0, 2):
        boxes.nth(place).check()
    tab.page.get_by_role("link", name="Workers").click()
    tab.page.wait_for_selector("h1:text-is('Workers')")
    tab.page.go_back()
    tab.page.get_by_role("link", name="Compare 2").wait_for()
    boxes.nth(2).wait_for()
    assert [box.is_checked() for box in boxes.all()] == [True, False, True]


def test_nothing_of_the_table_is_cut_off(tab: Tab) -> None:
    model = "some-organisation/A-Model-With-A-Long-Name-7B-Instruct"
    progress = {"step": 12_345, "total_steps": 100_000, "epoch": 1.0, "eta_seconds": 123_456.0}
    long = {
        "task": "token-classification",
        "base_model": model,
        "asa": {"total": 1920, "active": 1920, "target": 960},
        "progress": progress,
    }
    names = ["a name of many words that goes on and on " * 3, "anamewithoutanyspaceinit" * 5, "short"]
    states = ["running", "queued", "paused", "cancelling", "succeeded", "failed"]
    perplexity = {"best_metric": {"name": "perplexity", "direction": "min"}, "result": {"eval_perplexity": 1234.5}}
    perplexity |= {"judgement": JUDGEMENT, "warnings": [WARNING], "tags": ["a tag of some length " * 2, "x"]}
    perplexity["notes"] = "anoteofonelongword" * 6
    jobs = [
        listed(number, name=names[number % 3], status=status, owner=names[number % 2], **long, **perplexity)
        for number, status in enumerate([*states, *reversed(states)])
    ]
    show(tab, jobs)
    for width in (*WIDTHS, 820, 1920):
        found = clipped(tab.page, width)
        if folder := os.environ.get("ADAMSS_TEST_PICTURES"):
            tab.page.screenshot(path=Path(folder) / f"jobs-{width}.png")
        assert found == [], width
