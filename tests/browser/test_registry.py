"""Registered models in the view of models: publish, make live, and go back."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import SECONDS, Tab
from tests.e2e.conftest import Up


def test_a_version_is_published_and_the_one_before_is_live_again(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    page, first = tab.page, job["id"]
    with up.client() as client:
        second = client.wait(client.submit(job["spec"] | {"name": "second"})["id"], timeout=SECONDS)["id"]
        tab.open("/models")
        try:
            for number, trained in enumerate((first, second), start=1):
                page.get_by_label("Job", exact=True).select_option(trained)
                page.get_by_label("published as").fill("sentiment")
                page.get_by_role("button", name="Publish").click()
                page.wait_for_selector(f"text=Withdraw >> nth={number - 1}")
            rows = page.get_by_role("region", name="Versions of sentiment").locator("tbody tr")
            rows.first.get_by_role("link", name="second").wait_for()  # by its name
            assert rows.first.locator(f"a[href='#/jobs/{second}']").count() == 1
            assert "live" in rows.first.inner_text()
            (answer,) = client.predict("sentiment", ["good film"])
            assert answer["label"] in job["result"]["labels"]
            page.get_by_role("button", name="Back to version 1").click()
            page.get_by_role("button", name="Make sentiment@2 live").wait_for()
            assert client.registered_model("sentiment")["labels"] == {"live": 1}
            assert client.job_of_model("sentiment") == client.job_of_model("sentiment@1") == first
        finally:
            client.withdraw_model("sentiment")
