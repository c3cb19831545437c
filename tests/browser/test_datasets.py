"""The data sets on the page: upload, what is wrong with the rows, how a model sees them, and who used them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.browser.conftest import Tab
from tests.browser.geometry import WIDTHS, clipped
from tests.e2e.conftest import Up

PARTLY = "text,label\n" + "good film,yes\nbad film,no\n" * 20 + "too,many,cells\n" * 2
SLOW = """() => {  // the upload's progress stands still until the test lets it go on
    const send = XMLHttpRequest.prototype.send;
    XMLHttpRequest.prototype.send = function (body) {
        if (!(body instanceof FormData)) return send.call(this, body);
        XMLHttpRequest.prototype.send = send;
        this.upload.onprogress({ loaded: 500, total: 2000 });
        window.goOn = () => send.call(this, body);
    };
}"""


def test_an_upload_opens_its_data_set(tab: Tab, tmp_path: Path, job: dict[str, Any]) -> None:
    """Problems are grouped, the rows are shown as a model sees them, columns have charts, and it leads to a job."""
    file = tmp_path / "partly.csv"
    file.write_text(PARTLY)
    tab.open("/datasets")
    page = tab.page
    page.evaluate(SLOW)
    page.set_input_files("input[type=file]", file)
    page.wait_for_selector("text=Sending partly.csv: 500 B of 2.00 kB")
    assert page.get_by_label("Upload of partly.csv").get_attribute("value") == "500"
    page.evaluate("goOn()")
    page.wait_for_selector("h1:text-is('partly.csv')")
    assert "#/datasets/ds_" in page.url
    (problem,) = page.locator("[aria-label='Table of problems'] tbody tr").all_inner_texts()
    assert problem.split()[:2] == ["2", "41,"]
    assert "3 cells where the header has 2" in problem
    labels = page.locator("[aria-label='Column label'] tbody tr").all_inner_texts()
    assert sorted(text.split()[0] for text in labels) == ["no", "yes"]
    assert all(text.split()[-2:] == ["50", "%"] for text in labels)
    page.get_by_role("combobox", name="Model").select_option("tiny")
    page.get_by_role("button", name="Show").click()
    page.wait_for_selector(".example")
    first = page.locator(".example").first
    assert first.locator(".tokens code").all_text_contents()[:2] == ["good", " film"]
    assert first.locator(".tag").inner_text() == "yes"
    assert "No job uses it yet." in page.inner_text("main")
    for width in WIDTHS:
        assert clipped(page, width) == [], width
    page.get_by_role("link", name="Data sets", exact=True).last.click()
    page.wait_for_selector("[aria-label='Table of data sets'] >> text=partly.csv")
    page.set_input_files("input[type=file]", file)
    page.wait_for_selector("text=This file was uploaded before")
    page.get_by_role("button", name="Delete").click()
    page.wait_for_selector("h1:text-is('Data sets')")
    page.wait_for_function("() => !document.querySelector('main').innerText.includes('partly.csv')")


def test_a_data_set_names_its_jobs_and_leads_to_a_valid_one(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    dataset = job["spec"]["dataset"]["train"]
    tab.open(f"/datasets/{dataset}")
    page = tab.page
    page.wait_for_selector(f"[aria-label='Table of jobs that use it'] a[href='#/jobs/{job['id']}']")
    page.wait_for_selector(".example")  # nobody asked: what it is for is known
    page.evaluate("window.confirm = (text) => { window.asked = text; return false; }")
    page.get_by_role("button", name="Delete").click()
    page.wait_for_function("(name) => window.asked?.includes(`Used by ${name}`)", arg=job["name"])
    page.get_by_role("link", name="Train on it").click()
    page.wait_for_selector("#plan dl")  # the dry run answered with an estimate
    assert page.locator("#plan .error").count() == 0


def test_what_is_trained_of_a_chat_is_coloured(tab: Tab, chat_job: dict[str, Any]) -> None:
    tab.open(f"/datasets/{chat_job['spec']['dataset']['train']}")
    page = tab.page
    page.wait_for_selector(".example .trained")
    shown = page.locator(".example").first
    trained = "".join(shown.locator("code.trained").all_text_contents())
    assert trained
    assert trained != "".join(shown.locator("code").all_text_contents())
    page.wait_for_selector("text=tokens are trained, the others are context")


def test_of_several_files_the_refused_are_named(tab: Tab, tmp_path: Path, job: dict[str, Any]) -> None:
    tab.open("/datasets")
    page = tab.page
    (tmp_path / "fine.csv").write_text(PARTLY.replace("good", "fine"))
    (tmp_path / "nothing.csv").write_text("")
    page.set_input_files("input[type=file]", [tmp_path / "nothing.csv", tmp_path / "fine.csv"])
    page.wait_for_selector("[role=alert]:has-text('nothing.csv:')")
    row = page.locator("[aria-label='Table of data sets'] tbody tr", has_text="fine.csv")
    row.get_by_role("button", name="Actions").click()
    row.get_by_role("menuitem", name="Delete").click()
    row.wait_for(state="detached")
    assert [text.partition(" the server")[0] for text in tab.complaints] == ["Failed to load resource:"]
    tab.complaints.clear()
