"""The view of the workers: what they run, and a host that rests and works again."""

from __future__ import annotations

from tests.browser.conftest import Tab
from tests.e2e.conftest import Up


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
