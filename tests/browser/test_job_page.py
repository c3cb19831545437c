"""The order of a job's page: what an ended job came to, what a running one does, and what is folded."""

from __future__ import annotations

from typing import Any

from tests.browser.conftest import SPEC, Tab
from tests.e2e.conftest import Up

CHART = "(element) => element.chart.data"
SHORT = "async (text) => (await import('/static/job_parts.js')).shortPaths(text)"
HEADINGS = "() => [...document.querySelectorAll('main h2')].map((heading) => heading.id)"


def test_an_ended_job_begins_with_its_result(tab: Tab, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    value = job["result"]["eval_accuracy"]
    page.wait_for_selector(f".verdict:has-text('{100 * value:g} %')")  # a share is a percentage
    judged = job["judgement"]
    assert f"{100 * judged['low']:.3g} % to {100 * judged['high']:.3g} %" in page.inner_text(".verdict .headline")
    names = page.locator(".intervals th").all_inner_texts()
    assert names == ["AdaMSS (this job)", "head alone", "lora:r=1", judged["predicts"]]
    headings = page.evaluate(HEADINGS)
    assert headings[:3] == ["verdict", "artifacts", "try"]
    assert (
        headings.index("evaluation") < headings.index("curves") < headings.index("pruning") < headings.index("details")
    )
    told = page.inner_text(".verdict")
    lora = next(one for one in job["comparison"]["contenders"] if one["contender"] == "lora:r=1")["held_out"]
    is_known = lora["difference_low"] is not None  # few rows that score alike leave no interval
    no_difference = is_known and lora["difference_low"] <= 0 <= lora["difference_high"]
    assert ("These rows show no difference to lora:r=1" in told) == no_difference


def test_a_value_ahead_of_the_baseline_is_not_called_no_better(tab: Tab, job: dict[str, Any]) -> None:
    judgement = job["judgement"] | {"value": 0.5, "baseline": 0.25, "low": 0.2, "high": 0.8, "no_better": True}
    warning = {"code": "no_better_than_baseline", "message": "M.", "data": "train", "causes": []}
    changed = job | {"judgement": judgement, "warnings": [warning]}
    tab.page.route(f"**/jobs/{job['id']}", lambda route: route.fulfill(json=changed))
    tab.open(f"/jobs/{job['id']}")
    tab.page.wait_for_selector("text=Not shown to be better than the baseline: the interval contains it.")
    tab.page.wait_for_selector(".notice:has-text('not shown to be better than the baseline: M.')")


def test_an_undefined_metric_has_a_result_too(tab: Tab, job: dict[str, Any]) -> None:
    best = {"name": "pearson", "direction": "max", "value": None}
    result = job["result"] | {"eval_pearson": None, "eval_loss": 0.25, "stopped_early": True}
    changed = job | {"best_metric": best, "result": result, "judgement": None}
    tab.page.route(f"**/jobs/{job['id']}", lambda route: route.fulfill(json=changed))
    tab.open(f"/jobs/{job['id']}")
    tab.page.wait_for_selector(".verdict .headline:has-text('pearson is undefined')")
    assert "loss 0.25" in tab.page.inner_text(".verdict")
    assert tab.page.locator("text=It has no model").count() == 0  # its patience has ended the training, not a sweep


def test_a_contender_under_way_has_the_bar_and_the_time(tab: Tab, job: dict[str, Any]) -> None:
    running = {"contender": "head", "place": 1, "step": 6, "steps": 24, "eta_seconds": 30.0}
    progress = job["progress"] | {"step": 24, "total_steps": 24, "eta_seconds": 0.0, "contender": running}
    changed = job | {"status": "running", "progress": progress}
    tab.page.route(f"**/jobs/{job['id']}", lambda route: route.fulfill(json=changed))
    tab.page.route(f"**/jobs/{job['id']}/stream*", lambda route: route.abort())
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    page.wait_for_selector(".now .headline:has-text('Trains the contender head step 6 of 24, about 30 s left')")
    bar = page.get_by_role("progressbar", name="Progress")
    assert (bar.get_attribute("value"), bar.get_attribute("max")) == ("6", "24")
    assert page.locator(".now dl").count() == 0  # the last numbers of the job's own training
    page.wait_for_selector("#artifacts ~ p:has-text('SHA-256 change then')")
    tab.complaints.clear()  # the stream is not there


def test_the_curve_of_active_subspaces_is_that_of_the_map(tab: Tab) -> None:
    subspaces = [{"active": False, "pruned_at": 6}, {"active": False, "pruned_at": 9}, {"active": True}]
    counted = tab.page.evaluate(
        "async (map) => (await import('/static/asa.js')).activeCounts(map, 12)",
        {"total": 3, "active": 1, "modules": {"a": subspaces}},
    )
    assert counted == [[0, 3], [6, 2], [9, 1], [12, 1]]


def test_planned_elements_are_bounds_until_pruning_has_ended(tab: Tab) -> None:
    counts = {"peak": 20_000, "end": 10_548, "published": 20_000}
    words = "async ([one, plan]) => (await import('/static/format.js')).elements(one, plan)"
    said = [tab.page.evaluate(words, [counts, plan]) for plan in (True, False)]
    assert said == [
        "20,000 at the start, at most 10,548 at the end, 20,000 published",
        "20,000 at the start, 10,548 at the end, 20,000 published",
    ]


def test_differences_are_told_from_this_job_s_side(tab: Tab, job: dict[str, Any]) -> None:
    """The API gives a contender less the job; a job that is better stands above it."""
    own, head, lora = job["comparison"]["contenders"]
    worse = {"difference": -0.2, "difference_low": -0.3, "difference_high": -0.1}
    changed = job | {
        "comparison": job["comparison"] | {"contenders": [own, head, lora | {"held_out": lora["held_out"] | worse}]},
    }
    tab.page.route(f"**/jobs/{job['id']}", lambda route: route.fulfill(json=changed))
    tab.open(f"/jobs/{job['id']}")
    tab.page.wait_for_selector("text=Better than lora:r=1 (this job less lora:r=1: +10 to +30 points).")


def test_a_running_job_begins_with_what_it_does(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    spec = {**SPEC, "name": "under way", "dataset": job["spec"]["dataset"], "compare": []}
    with up.client() as client:
        made = client.submit({**spec, "training": {**SPEC["training"], "epochs": 1000}})
        tab.open(f"/jobs/{made['id']}")
        page = tab.page
        page.wait_for_selector(".now .headline:has-text('Trains')")
        page.wait_for_selector(".now .headline:has-text('left')")
        page.wait_for_selector("[data-chart=loss] canvas")
        headings = page.evaluate(HEADINGS)
        assert headings[:3] == ["now", "curves", "pruning"]
        assert page.locator("[data-chart=grad_norm]").is_hidden()  # folded
        client.cancel(made["id"])
        page.wait_for_selector(".status.cancelled")


def test_a_waiting_job_says_why_it_waits(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    """Also after the stream has sent its state, which has no place in the queue. Once, the reason was gone then."""
    spec = {**SPEC, "name": "waits", "dataset": job["spec"]["dataset"], "compare": [], "resources": {"devices": 2}}
    with up.client() as client:
        made = client.submit(spec)
        with tab.page.expect_response(f"**/jobs/{made['id']}/stream*"):
            tab.open(f"/jobs/{made['id']}")
        client.edit_job(made["id"], priority=-5)  # the stream tells of it
        tab.page.wait_for_selector("dt:text-is('priority') + dd:text-is('-5')")
        tab.page.wait_for_selector(".now:has-text('devices')")
        client.cancel(made["id"])
        tab.page.wait_for_selector(".status.cancelled")


def test_the_log_shows_no_folders_of_the_host(tab: Tab) -> None:
    text = 'File "/home/me/lib/site-packages/peft/model.py", line 3: see https://hub.example/a/b/c, 1/2/3 and /tmp/x'
    shown = 'File "…/peft/model.py", line 3: see https://hub.example/a/b/c, 1/2/3 and /tmp/x'
    assert tab.page.evaluate(SHORT, text) == shown


def test_curves_change_their_axis_scale_and_smoothing(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    page.wait_for_selector("[data-chart=loss] canvas")
    assert len(page.locator("[data-chart=loss]").evaluate(CHART)) == 3
    page.locator("#learning-axis").select_option("epoch")
    page.wait_for_selector("[data-chart=loss]:has-text('epoch')")
    assert page.locator("[data-chart=loss]").evaluate(CHART)[0][-1] == job["progress"]["epoch"]
    page.get_by_label("Smoothing").fill("0.5")
    page.wait_for_selector("[data-chart=loss]:has-text('smoothed')")
    places, raw, smooth, _ = page.locator("[data-chart=loss]").evaluate(CHART)
    known = [place for place, value in enumerate(raw) if value is not None]
    first, second = known[:2]
    assert smooth[first] == raw[first]
    assert abs(smooth[second] - (0.25 * raw[first] + 0.5 * raw[second]) / 0.75) < 1e-9
    page.get_by_label("logarithmic").check()
    page.wait_for_function("() => document.querySelector('[data-chart=loss]').chart.scales.y.distr === 3")
    assert len(places) == len(raw)


def test_without_pruning_the_map_is_folded(tab: Tab, chat_job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{chat_job['id']}")
    page = tab.page
    page.wait_for_selector("summary:has-text('none is pruned')")
    assert page.locator(".map[data-step]").is_hidden()


def test_a_map_of_many_modules_is_folded_by_layer(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    """Once, 600 equal cells stood above the loss."""
    with up.client() as client:
        recorded = client._get(f"/jobs/{job['id']}/subspaces")
    subspaces = next(iter(recorded["modules"].values()))
    modules = {f"layer.{layer}.{kind}": subspaces for layer in range(30) for kind in ("query", "value")}
    large = recorded | {"modules": modules}
    tab.page.route(f"**/jobs/{job['id']}/subspaces", lambda route: route.fulfill(json=large))
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    page.wait_for_selector(".layers summary")
    assert page.locator(".layers details").count() == 30
    active = 2 * sum(subspace["active"] for subspace in subspaces)
    assert f"{active} of {2 * len(subspaces)}" in page.locator(".layers summary").nth(7).inner_text()
    page.locator(".layers summary").nth(7).click()
    rows = page.locator(".layers details").nth(7).locator("tbody tr")
    assert [row.get_attribute("data-module") for row in rows.all()] == ["layer.7.query", "layer.7.value"]
