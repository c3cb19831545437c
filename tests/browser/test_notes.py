"""Name, tags, group and notes of a job on the page: written there, shown there, and found by."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import Tab
from tests.e2e.conftest import Up


def test_notes_are_written_and_found(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    edit = page.get_by_role("button", name="Edit name, tags and notes")
    edit.click()
    assert page.evaluate("document.activeElement.name") == "name"
    page.get_by_label("Tags").fill("keep, page test")
    page.get_by_label("Group").fill("from the page")
    page.get_by_label("Notes").fill("first line\nsecond line")
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("p.notes:has-text('second line')")
    assert edit.evaluate("(button) => button === document.activeElement")
    assert page.locator(".tag").all_inner_texts() == ["keep", "page test"]
    with up.client() as client:
        found = client.get_job(job["id"])
        assert (found["tags"], found["group"]) == (["keep", "page test"], "from the page")
        assert found["notes"] == "first line\nsecond line"
        tab.open("/")
        page.get_by_label("Search").fill("page test")
        page.wait_for_selector("tbody tr .tag")
        assert page.locator("tbody tr").count() == 1
        client.edit_job(job["id"], tags=[], notes=None, group=None)


def test_what_is_refused_is_said_and_kept(tab: Tab, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    page.get_by_role("button", name="Edit name, tags and notes").click()
    page.get_by_label("Tags").fill("x" * 41)
    page.get_by_role("button", name="Save").click()
    page.wait_for_selector("form[aria-label='What is written on the job'] [role=alert]")
    assert page.get_by_label("Tags").input_value() == "x" * 41
    page.get_by_role("button", name="Close").click()
    assert page.locator(".tag").count() == 0
    assert [text.partition(" the server")[0] for text in tab.complaints] == ["Failed to load resource:"]
    tab.complaints.clear()


def test_without_a_baseline_the_page_says_how_to_pin_one(tab: Tab, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    tab.page.get_by_role("link", name="Compare with the baseline").click()
    tab.page.wait_for_selector("text=Pin one by “Pin as baseline” on its job's page.")
    assert tab.page.locator("#differences").count() == 0
    tab.complaints.clear()  # the browser names what was not found


def test_the_pinned_baseline_is_marked_and_let_go(tab: Tab, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    page.get_by_role("button", name="Pin as baseline").click()
    page.wait_for_selector("text=It is the pinned baseline.")
    tab.open("/jobs?mine=yes")
    assert page.get_by_label("Mine only").is_checked()
    assert "baseline" in page.locator(f"tr[data-job={job['id']}] td.of-name").inner_text()
    tab.open(f"/jobs/{job['id']}")
    page.get_by_role("button", name="Unpin").click()
    page.get_by_role("button", name="Pin as baseline").wait_for()
