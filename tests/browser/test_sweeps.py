"""The views of sweeps: the list, one with its charts, and the form that begins one from a job."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import SECONDS, Tab
from tests.browser.shown_sweep import ID, show_sweep, sweep_shown
from tests.browser.test_jobs_table import listed, show
from tests.e2e.conftest import Up


def test_a_sweep_shows_its_trials_by_rank(tab: Tab) -> None:
    show_sweep(tab, sweep_shown())
    tab.open(f"/sweeps/{ID}")
    page = tab.page
    rows = page.get_by_role("region", name="Table of trials").locator("tbody tr")
    table = [row.split("\t") for row in rows.all_inner_texts()]
    assert [row[0].strip() for row in table] == ["3", "4", "1", "7", "2", "6", "5", "8"]
    assert table[0][1:4] == ["complete", "86.5\xa0%\xa0±\xa00.4\xa0%", "0.003"]
    assert table[0][6] == "\u2013"  # the condition leaves the warm-up as it is
    assert "stopped early\nat step 16, judged by evaluation 1" in rows.nth(4).inner_text()
    assert "adamss.r: Rank 100 is more than the module has rows." in rows.nth(6).inner_text()
    assert rows.first.get_by_role("link").first.get_attribute("href") == "#/jobs/job_00000000000000000030"
    data = page.wait_for_selector("[data-chart=best]:has(canvas)").evaluate("(element) => element.chart.data")  # type: ignore[union-attr]
    assert data == [[60, 180, 240], [0.81, 0.865, 0.865]]
    shares = page.get_by_label("Importance of the fields").locator("td.num").all_inner_texts()
    assert shares == ["71 %", "20 %", "9 %"]


def test_a_sweep_without_a_best_trial_says_why(tab: Tab) -> None:
    why = "No trial is the best: pearson was undefined at each evaluation."
    show_sweep(tab, sweep_shown(status="succeeded", best=None, no_best=why))
    tab.open(f"/sweeps/{ID}")
    assert tab.page.inner_text(".now .headline") == why


def test_parallel_coordinates_go_through_trials_by_keyboard(tab: Tab) -> None:
    show_sweep(tab, sweep_shown())
    tab.open(f"/sweeps/{ID}")
    page = tab.page
    slider = page.get_by_label("Trial by rank")
    assert slider.get_attribute("max") == "6"  # those with a value
    assert str(slider.get_attribute("aria-valuetext")).startswith("Rank 1 of 6: trial 3, accuracy 86.5\xa0%")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#parallel-rank').ariaValueText.includes('trial 4,')")
    assert page.locator(".plot path.picked").count() == 1
    line = page.locator(".plot path.trial.best").get_attribute("d")
    assert str(line).split("L")[3] == "3.5 1.1200"  # the place for trials that do not have the field


def test_a_sweep_is_one_line_among_the_jobs(tab: Tab) -> None:
    show_sweep(tab, sweep_shown(created_at="2026-01-02T12:00:00Z"))
    show(tab, [listed(0, name="older"), listed(2, name="newer")])
    page = tab.page
    line = page.locator(".group-head")
    line.wait_for()
    order = page.evaluate("() => [...document.querySelectorAll('tbody .job-name')].map((link) => link.innerText)")
    assert order == ["newer", "rates of the reviews", "older"]
    assert "3 complete, 2 stopped early" in line.inner_text()
    page.get_by_label("Search").fill("newer")
    line.wait_for(state="detached")


def test_a_sweep_begins_around_a_job_and_is_paused_and_cancelled(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    page.get_by_role("link", name=f"Sweep around {job['name']}").click()
    page.get_by_label("Trials", exact=True).fill("2")
    page.get_by_text("Fields of my own").click()
    page.get_by_label("Field", exact=True).fill("training.seeds")
    page.get_by_label("or values").fill("1, 2")
    page.wait_for_selector("#plan .error:has-text('There is no field training.seeds')")
    page.get_by_label("Field", exact=True).fill("training.seed")
    page.wait_for_selector("#plan dt:text-is('trials') + dd:text-is('2')")
    tab.complaints.clear()  # the browser names the refused dry runs
    page.get_by_role("button", name="Begin the sweep").click()
    page.wait_for_url("**/#/sweeps/sweep_*")
    sweep = page.url.rpartition("/")[2]
    page.get_by_role("button", name=f"Pause {job['name']}").click()
    page.get_by_role("button", name=f"Resume {job['name']}").wait_for()
    with up.client() as client:
        assert client.get_sweep(sweep)["request"]["space"] == {"training.seed": {"values": [1, 2]}}
        page.get_by_role("button", name=f"Cancel {job['name']}").click()
        page.get_by_role("button", name=f"Delete {job['name']}").click()
        page.wait_for_selector("text=No sweeps yet.", timeout=SECONDS * 1000)
        assert client.list_sweeps() == []
        for trial in client.list_jobs(limit=2):
            client.wait(trial["id"], timeout=SECONDS)
            client.delete_job(trial["id"])


def test_a_jobs_values_are_saved_as_a_preset_and_chosen_in_a_new_job(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    with up.client() as client:
        client.save_preset("mine", fields={"training.weight_decay": 0.1})
        try:
            page.get_by_role("button", name="Use as preset").click()
            page.get_by_label("Name of the preset").fill("mine")
            page.get_by_role("button", name="Save").click()
            page.get_by_role("button", name="Replace it").click()
            page.wait_for_selector("text=in a spec chooses it")
            tab.complaints.clear()  # the browser names the refused name
            assert client.get_preset("mine")["adamss"] == {**job["spec"]["adamss"]}
            tab.open("/sweeps")
            assert "mask_interval 4" in page.get_by_role("region", name="Table of presets").inner_text()
            page.get_by_role("link", name="New job with mine").click()
            page.locator("#field-dataset-train").select_option(job["spec"]["dataset"]["train"])
            page.wait_for_selector("#plan >> text=From the preset mine")
            tab.complaints.clear()  # the newest data set may be for another task, which its dry run refuses
            assert page.locator("#field-preset").input_value() == "mine"
            tab.open("/sweeps")
            page.get_by_role("button", name="Delete mine").click()
            page.wait_for_selector("text=None yet: “Use as preset”")
        finally:
            for preset in client.presets():
                if preset["own"]:
                    client.delete_preset(preset["name"])


def test_a_trial_that_was_stopped_early_says_so_and_offers_no_model(tab: Tab, job: dict[str, Any]) -> None:
    result = {"eval_accuracy": 0.625, "stopped_early": "halving"}
    trial = job | {"result": result, "sweep": ID, "trial": 2, "judgement": None, "comparison": None, "warnings": []}
    tab.page.route(f"**/jobs/{job['id']}", lambda route: route.fulfill(json=trial))
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    page.wait_for_selector("text=Its sweep stopped this trial early: others did better. It has no model.")
    assert page.get_by_role("link", name=ID).get_attribute("href") == f"#/sweeps/{ID}"
    assert page.locator("h2:text-is('Try it')").count() == 0
