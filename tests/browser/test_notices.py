"""Notices of the browser when a job ends, and the names of what a job's page leads to."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import Tab
from tests.browser.test_jobs_table import listed
from tests.e2e.conftest import Up

NOTICES = """
window.told = [];
window.Notification = class {
    static permission = "default";
    static async requestPermission() { return (this.permission = "granted"); }
    constructor(title, { body }) { told.push([title, body]); window.newest = this; }
    close() {}
};
"""


def test_a_notice_says_how_a_job_ended(tab: Tab) -> None:
    """Seen to fail where the list that is asked for is not the one of unfinished jobs."""
    page = tab.page
    running = listed(0, name="mine", status="running", result=None)
    unfinished = [running]
    page.route(
        "**/jobs?*status=running*",
        lambda route: route.fulfill(json={"object": "list", "data": unfinished, "has_more": False, "next": None}),
    )
    page.route(f"**/jobs/{running['id']}", lambda route: route.fulfill(json=listed(0, name="mine")))
    page.add_init_script(NOTICES)
    page.clock.install()
    page.goto("about:blank")
    tab.open("/workers")
    with page.expect_response("**/jobs?*status=running*"):
        page.get_by_role("button", name="Notices off").click()
    page.get_by_role("button", name="Notices on").wait_for()
    page.clock.fast_forward(20_000)
    assert page.evaluate("told") == []  # it runs on
    unfinished.clear()
    page.clock.fast_forward(20_000)
    page.wait_for_function("() => told.length === 1")
    assert page.evaluate("told") == [["mine: succeeded", "Accuracy: 50 %"]]
    page.route("**/jobs/**", lambda route: route.abort())  # the view of a job that does not exist
    page.evaluate("newest.onclick()")
    assert page.url.endswith(f"#/jobs/{running['id']}")
    page.get_by_role("button", name="Notices on").click()
    page.get_by_role("button", name="Notices off").wait_for()
    page.goto("about:blank")
    tab.complaints.clear()  # the aborted requests


def test_the_hardest_rows_have_names_and_pictures(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    dataset = job["spec"]["dataset"]["train"]
    row = {"place": 1, "row": 7, "dataset": None, "data": "train", "loss": 2.5, "expected": "cat", "predicted": "dog"}
    rows = [row | {"input": {"image": "cats/1.png"}}, row | {"place": 2, "input": {"text": "a good film"}}]
    answer = {"object": "list", "data": rows, "has_more": False, "next": None}
    page = tab.page
    page.route("**/worst*", lambda route: route.fulfill(json=answer))
    page.route("**/images/**", lambda route: route.fulfill(body="<svg xmlns='http://www.w3.org/2000/svg'/>"))
    tab.open(f"/jobs/{job['id']}")
    section = page.locator("section[aria-labelledby=hardest]")
    name = section.get_by_role("link", name="rows.csv")
    assert name.get_attribute("href") == f"#/datasets/{dataset}"
    picture = section.locator("img")
    assert picture.get_attribute("src") == f"/datasets/{dataset}/images/cats/1.png"
    assert section.locator("tbody tr").all_inner_texts()[1].split("\t") == ["7", "a good film", "cat", "dog", "2.5"]
