"""The page in a real browser, on a real service with a real job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import Tab
from tests.browser.geometry import WIDTHS, clipped
from tests.browser.shown_sweep import ID, show_sweep, sweep_shown
from tests.e2e.conftest import Up

if TYPE_CHECKING:
    from playwright.sync_api import Route

AXE = Path(__file__).parent / "axe" / "axe.min.js"
MAP = """() => [...document.querySelectorAll(".map[data-step] tbody tr")].map((row) => [row.dataset.module,
    [...row.querySelectorAll("td")].map((cell) => [cell.className.startsWith("level-"), cell.textContent])])"""


def view_of(name: str, job: dict[str, Any], other: dict[str, Any] | None = None) -> str:
    dataset = job["spec"]["dataset"]["train"]
    views = {
        "jobs": "/",
        "job": f"/jobs/{job['id']}",
        "new": f"/new?from={job['id']}",
        "compare": f"/compare?jobs={job['id']},{(other or job)['id']}&x=epoch",
        "datasets": "/datasets",
        "dataset": f"/datasets/{dataset}",
        "workers": "/workers",
        "models": f"/models/{job['spec']['base_model']}",
        "sweeps": "/sweeps",
        "sweep": f"/sweeps/{ID}",
        "new-sweep": f"/sweeps?from={job['id']}",
    }
    return views[name]


@pytest.mark.parametrize(
    "view",
    ["jobs", "job", "new", "compare", "datasets", "dataset", "models", "workers", "sweeps", "sweep", "new-sweep"],
)
def test_every_view_is_accessible_and_without_errors(
    tab: Tab, job: dict[str, Any], request: pytest.FixtureRequest, view: str
) -> None:
    """Without a complaint of the browser (the tab's fixture looks), readable for everyone, at each width."""
    tab.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    show_sweep(tab, sweep_shown())
    other = request.getfixturevalue("chat_job") if view == "compare" else job
    tab.open(view_of(view, job, other))
    if view in ("job", "compare"):
        tab.page.wait_for_selector("[data-chart=loss] canvas")
    tab.page.evaluate(AXE.read_text())  # as a file it would need an exception from the policy
    assert violations(tab, {"resultTypes": ["violations"]}) == []
    tab.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert violations(tab, {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}) == []
    tab.page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    for scheme in ("dark", "light"):
        tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width in WIDTHS:
            assert clipped(tab.page, width) == [], (scheme, width)


@pytest.mark.parametrize(
    ("style", "complaint"),
    [
        ("max-width: 100%", None),
        ("position: relative; left: 2000px", "leaves the screen"),
        ("position: absolute; margin-left: 90px", "leaves <div"),
        ("display: block; width: 400px", "scrolls sideways"),
    ],
)
def test_what_is_clipped_is_found(tab: Tab, style: str, complaint: str | None) -> None:
    """The measure of the test above finds each kind of what it looks for."""
    tab.page.goto("about:blank")
    rooms = {"leaves <div": "overflow: hidden; width: 100px; height: 40px; position: relative"}
    room = rooms.get(complaint or "", "overflow: auto; width: 300px")
    room = "" if complaint == "leaves the screen" else room
    tab.page.set_content(f'<div style="{room}"><span style="{style}">words</span></div>')
    found = clipped(tab.page, 1024)
    assert (found == []) == (complaint is None)
    assert complaint is None or any(complaint in text for text in found)


def violations(tab: Tab, options: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Rules of accessibility that the page breaks, with the elements."""
    found = tab.page.evaluate("(options) => axe.run(options)", options)["violations"]
    return [(entry["id"], [node["html"] for node in entry["nodes"]]) for entry in found]


def test_charts_hold_the_jobs_numbers(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(view_of("job", job))
    with up.client() as client:
        rows = client.metrics(job["id"])
    train = {row["step"]: row["values"]["loss"] for row in rows if row["kind"] == "train"}
    evaluated = {row["step"]: row["values"]["eval_loss"] for row in rows if row["kind"] == "eval"}
    element = tab.page.wait_for_selector("[data-chart=loss]:has(canvas)")
    assert element is not None
    steps, losses, evaluations = element.evaluate("(element) => element.chart.data")
    shown = dict(zip(steps, losses, strict=True))
    assert {step: loss for step, loss in shown.items() if loss is not None} == train
    shown = dict(zip(steps, evaluations, strict=True))
    assert {step: loss for step, loss in shown.items() if loss is not None} == evaluated
    label = element.get_attribute("aria-label")
    assert label is not None
    assert f"training: {len(train)} points" in label


def test_evaluation_is_shown_beside_the_baseline(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(view_of("job", job))
    with up.client() as client:
        (report,) = client.evaluation(job["id"])
    cells = tab.page.get_by_role("region", name="Confusion matrix").locator("tbody td")
    assert cells.all_inner_texts() == [str(count) for counts in report["confusion"]["counts"] for count in counts]
    scores = tab.page.get_by_role("region", name="Class scores").locator("tbody th")
    assert scores.all_inner_texts() == [entry["name"] for entry in report["classes"]]
    assert f"baseline: {report['baseline']['predicts']}" in tab.page.inner_text(".facts")
    exact = tab.page.locator(".facts div", has_text="parameters at start").locator("dd").inner_text()
    assert exact == f"{job['resolved']['estimate']['trainable_parameters']:,}"
    counts = tab.page.locator(".facts div", has_text="elements of A and B").locator("dd").inner_text()
    assert counts.endswith(f"{job['result']['elements']['published']:,} published")
    warned = [text.split(":")[0] for text in tab.page.locator("p.notice[role=alert]").all_inner_texts()]
    titles = {"no_better_than_baseline": "Not shown to be better than the baseline"}
    codes = [warning["code"] for warning in job["warnings"]]
    assert warned == [titles.get(code, code.replace("_", " ").capitalize()) for code in codes]


def test_map_dims_pruned_subspaces(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(view_of("job", job))
    with up.client() as client:
        recorded = client.subspaces(job["id"])
    for (module, cells), (name, subspaces) in zip(tab.page.evaluate(MAP), recorded["modules"].items(), strict=True):
        assert module == name
        assert [active for active, _ in cells] == [subspace["active"] for subspace in subspaces]
        for (active, text), subspace in zip(cells, subspaces, strict=True):
            assert active or text.endswith(str(subspace["pruned_at"]))
    assert tab.page.inner_text("[data-testid=active]") == "6"


def test_scrubber_replays_the_pruning(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(view_of("job", job))
    with up.client() as client:
        steps = client._get(f"/jobs/{job['id']}/subspaces")["steps"]
        counts = {step: client.subspaces(job["id"], step)["active"] for step in steps}
    assert counts[steps[0]] == 16
    assert counts[steps[-1]] == 6
    for place, step in enumerate(steps):
        tab.page.locator("#scrubber").fill(str(place))
        tab.page.wait_for_selector(f".map[data-step='{step}']")
        assert tab.page.locator(".map[data-step] tbody td:not(.pruned)").count() == counts[step]
    tab.page.get_by_role("button", name="Play").click()  # from the beginning, as it stands at the end
    tab.page.wait_for_selector(".map[data-step='0']")
    tab.page.wait_for_selector(f".map[data-step='{steps[1]}']")


def test_what_if_is_marked_as_a_replay(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(view_of("job", job))
    tab.page.locator("#what-if").fill("3")
    note = tab.page.wait_for_selector(".replay-note")
    assert note is not None
    assert "Replay, not a training run" in note.inner_text()
    assert tab.page.locator(".map[data-step] tbody td:not(.pruned)").count() == 3
    tab.page.get_by_role("button", name="Back to the run").click()
    tab.page.wait_for_selector(".replay-note", state="detached")
    assert tab.page.locator(".map[data-step] tbody td:not(.pruned)").count() == 6


def test_job_is_submitted_watched_and_cancelled(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(view_of("new", job))
    page = tab.page
    page.fill("#field-name", "from the page")
    page.fill("#field-adamss-final_warmup", "999999")
    wrong = page.wait_for_selector("#plan .error")
    assert wrong is not None
    assert "final_warmup" in wrong.inner_text()
    assert page.locator("[aria-invalid=true]").get_attribute("id") == "field-adamss-final_warmup"
    assert page.inner_text("#field-adamss-final_warmup-help .error") in wrong.inner_text()
    page.fill("#field-adamss-final_warmup", "auto")
    page.fill("#field-training-epochs", "1000")
    page.wait_for_selector("#plan [data-chart=schedule] canvas")
    tab.complaints.clear()  # the browser names the refused dry run
    page.get_by_role("button", name="Submit").click()
    page.wait_for_selector("h1:has-text('from the page')")
    page.wait_for_selector(".status.running")  # nobody reloads: the stream says so
    page.wait_for_selector("[data-chart=loss] canvas")
    page.get_by_role("button", name="Cancel from the page").click()
    page.wait_for_selector(".status.cancelled")
    with up.client() as client:
        assert [found["status"] for found in client.list_jobs(name="from the page")] == ["cancelled"]
    tab.open("/")
    page.wait_for_selector("tbody tr:has-text('from the page')")
    page.get_by_label("Search").fill("from the page")
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")


def test_prediction_and_upload(tab: Tab, job: dict[str, Any], tmp_path: Path) -> None:
    tab.open(view_of("job", job))
    tab.page.fill("#try-text", "a good film")
    tab.page.get_by_role("button", name="Predict").click()
    answer = tab.page.wait_for_selector("[role=status] strong")
    assert answer is not None
    assert answer.inner_text() in ("label0", "label1")
    file = tmp_path / "mine.csv"
    file.write_text("text,label\n" + "good film,yes\nbad film,no\n" * 20)
    tab.open("/datasets")
    tab.page.set_input_files("input[type=file]", file)
    tab.page.wait_for_selector("h1:has-text('mine.csv')")  # the upload opens it


def test_keyboard_reaches_the_content(tab: Tab, job: dict[str, Any]) -> None:
    tab.open("/")
    tab.page.locator(".skip").focus()
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("document.activeElement.tagName") == "MAIN"
    tab.page.wait_for_selector("tbody tr")
    tab.page.get_by_role("button", name="Job", exact=True).focus()
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("th[aria-sort=ascending]").inner_text().startswith("Job")


def test_page_loads_nothing_from_other_hosts(tab: Tab, job: dict[str, Any]) -> None:
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.open(view_of("job", job))
    tab.page.wait_for_selector("[data-chart=loss] canvas")
    assert len(asked) > 5
    assert all(url.startswith(tab.url) for url in asked)


def test_views_come_when_they_are_shown_and_else_a_little_later(tab: Tab) -> None:
    files: list[str] = []
    tab.page.on("request", lambda request: files.append(request.url.rpartition("/")[2]))
    tab.page.reload()
    tab.page.wait_for_selector("main h1")
    assert {"main.js", "jobs.js"} <= set(files)
    assert not {"workers.js", "job.js", "uplot.js"} & set(files)
    with tab.page.expect_request("**/workers.js"):  # the last of all
        pass
    assert {"job.js", "uplot.js"} <= set(files)


def test_a_view_that_does_not_load_says_so(tab: Tab) -> None:
    """Has a heading nevertheless, and is asked for again at the next visit."""
    page = tab.page
    page.route("**/workers.js", lambda route: route.abort())
    page.goto(f"{tab.url}/#/workers")
    page.wait_for_selector("#main:has-text('This view did not load.') > h1:text-is('Workers')")
    page.unroute("**/workers.js")
    page.get_by_role("link", name="Models").click()
    page.wait_for_selector("[aria-label='Table of models']")
    page.get_by_role("link", name="Workers").click()
    page.wait_for_selector("[aria-label='Table of workers']")
    assert all("ERR_FAILED" in text for text in tab.complaints)
    tab.complaints.clear()


def test_a_view_that_loads_has_its_heading_and_is_skipped_to(tab: Tab) -> None:
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route)

    page = tab.page
    page.goto("about:blank")
    page.route("**/workers.js", hold)
    page.goto(f"{tab.url}/#/workers")
    page.wait_for_selector("main#main > [role=status]:text-is('Loading…')")
    assert page.inner_text("main h1") == "Workers"
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    waiting[0].continue_()
    page.wait_for_selector("[aria-label='Table of workers']")


def test_each_view_has_its_own_title(tab: Tab, job: dict[str, Any]) -> None:
    """Also where nothing is found, and where the address names what every object has."""
    tab.open("/workers")
    for view, title in [
        ("/jobs/nope", "Job not found"),
        (f"/jobs/{job['id']}", job["name"]),
        ("/jobs/", "Jobs"),
        ("/sweeps/nope", "Sweep not found"),
        (f"/sweeps?from={job['id']}", "New sweep"),
        ("/datasets/nope", "Data set not found"),
        ("/models/tiny", "tiny"),
        ("/models/nope", "Model not found"),
        ("/models", "Models"),
        ("/toString", "Jobs"),
    ]:
        tab.page.goto(f"{tab.url}/#{view}")
        tab.page.wait_for_function("(title) => document.title === `${title} · AdaMSS`", arg=title)
    tab.complaints.clear()  # the browser names what was not found


def test_going_back_leads_to_where_the_view_was_scrolled(tab: Tab, job: dict[str, Any]) -> None:
    """And so does a reload; a new view begins at its top, with the keyboard in it."""
    page = tab.page
    page.set_viewport_size({"width": 900, "height": 400})
    tab.open(view_of("job", job))
    page.wait_for_selector("text=Reproduce this job")
    page.evaluate("scrollTo(0, 700)")
    page.wait_for_function("() => scrollY === 700")
    page.locator(".brand").evaluate("(link) => link.focus({ preventScroll: true })")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text-is('Jobs')")
    assert page.evaluate("scrollY") == 0
    page.wait_for_function("() => document.activeElement.tagName === 'MAIN'")
    page.go_back()
    page.wait_for_selector("main[data-job]")
    page.wait_for_function("() => scrollY === 700")
    page.reload()
    page.wait_for_selector("text=Reproduce this job")
    page.wait_for_function("() => scrollY === 700")
