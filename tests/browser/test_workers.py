"""The view of the workers: what they run, and a host that rests and works again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.browser.conftest import Tab
from tests.e2e.conftest import Up

if TYPE_CHECKING:
    from playwright.sync_api import Route


def test_a_job_that_no_worker_would_take_is_told_so_before(tab: Tab, job: dict[str, Any]) -> None:
    def drained(route: Route) -> None:
        found = route.fetch().json()
        route.fulfill(json=found | {"data": [worker | {"drained": True} for worker in found["data"]]})

    tab.page.route("**/workers?*", drained)
    tab.open(f"/new?from={job['id']}")
    tab.page.wait_for_selector("#plan .notice:has-text('All workers are drained')")
    assert "The largest worker" not in tab.page.inner_text("#plan")


def test_a_host_is_drained_and_works_again(tab: Tab, up: Up) -> None:
    tab.open("/workers")
    page = tab.page
    page.wait_for_selector("h2:text-is('Use')")  # the queue and the use come with their own requests
    page.wait_for_selector("text=Device hours this month")
    page.wait_for_selector("text=No job of this project waits")
    with up.client() as client:
        (worker,) = client.workers()["data"]
        row = page.locator("tbody tr", has_text=worker["id"])  # beside it stands the table of use
        assert worker["host"] in row.inner_text()
        row.get_by_role("button", name=f"Drain {worker['host']}", exact=True).click()
        page.wait_for_selector("text=it starts none")
        try:
            assert [drain["move"] for drain in client.workers()["drained"]] == [False]
            assert "drained" in row.inner_text()
        finally:
            page.get_by_role("button", name=f"Let {worker['host']} work").click()
            page.wait_for_selector("text=it starts none", state="detached")
        assert client.workers()["drained"] == []
