"""Single parts of the page in a real browser: the list, pausing, chats, comparisons, data sets, the form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.jobs.run_comparison import RunComparisonOut
from tests.browser.conftest import SECONDS, SPEC, Tab
from tests.e2e.conftest import Up
from tests.service.base_models.archives import files_of, tar_of

if TYPE_CHECKING:
    from playwright.sync_api import Route

PATTERN = r".*layer\.[0-1]{1,2}\..*(query|value)"
CHART = "(element) => element.chart.data"
HIDDEN = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
CELLS = """() => [...document.querySelectorAll("tbody tr")].map((row) =>
    [...row.children].map((cell) => cell.innerText))"""


def test_job_list_is_searched_filtered_and_sorted(tab: Tab, job: dict[str, Any], chat_job: dict[str, Any]) -> None:
    tab.open("/")
    page = tab.page
    row = page.locator(f"tbody tr[data-job={job['id']}]")
    text = row.inner_text()
    assert "6 of 16, target 6" in text
    assert f"{100 * job['result']['eval_accuracy']:.3g} %" in text
    assert "Accuracy" in text
    page.get_by_label("Search").fill("tiny-llama")
    row.wait_for(state="detached")
    assert page.locator("tbody .job-name").first.inner_text() == "tiny-chat"
    page.get_by_label("Search").fill("")
    page.get_by_label("Status").select_option("paused")
    page.wait_for_selector("text=No matching jobs")
    page.get_by_label("Status").select_option("succeeded")
    for _ in range(2):
        page.get_by_role("button", name="Subspaces").click()
    counts = page.locator("tbody .of-subspaces").all_inner_texts()
    assert not counts[0].startswith("6")  # the other way round a job without pruning is the last
    assert counts[-1].startswith("6")


def test_buttons_pause_and_resume_a_job(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    spec = {**SPEC, "name": "to be paused", "dataset": job["spec"]["dataset"]}
    with up.client() as client:
        made = client.submit({**spec, "training": {**SPEC["training"], "epochs": 1000}})
        tab.open(f"/jobs/{made['id']}")
        page = tab.page
        page.wait_for_selector(".status.running")
        page.wait_for_selector("dt:text-is('time left')")  # shown after the first step
        page.get_by_role("button", name="Pause to be paused").click()
        page.wait_for_selector(".status.paused")
        step = client.get_job(made["id"])["progress"]["step"]
        assert client.checkpoints(made["id"])[-1]["step"] == step
        page.get_by_role("button", name="Resume to be paused").click()
        page.wait_for_selector(".status.running")
        shown = page.wait_for_function(
            "(step) => document.querySelector('[data-chart=loss]')?.chart?.data[0].at(-1) > step", arg=step
        )
        assert shown.json_value()
        client.cancel(made["id"])
        page.wait_for_selector(".status.cancelled")


def test_contenders_stand_beside_the_job_s_own_adapter(tab: Tab, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    table = tab.page.locator("[aria-label='Table of contenders'] tbody tr")
    table.nth(2).wait_for()
    entries = {entry["contender"]: entry for entry in job["comparison"]["contenders"]}
    assert [row.split("\t")[0] for row in table.all_inner_texts()] == ["AdaMSS (this job)", "head", "lora:r=1"]
    assert list(entries) == ["adamss", "head", "lora:r=1"]
    cells = table.nth(2).locator("td").all_inner_texts()
    lora = entries["lora:r=1"]
    assert cells[0].replace(",", "") == str(lora["adapter_parameters"])
    assert cells[3] == f"{lora['held_out']['metrics']['accuracy']:.4g}"
    assert (" to " in cells[5]) == (lora["held_out"]["difference_low"] is not None)


def test_a_contender_under_way_and_one_that_failed_are_named(tab: Tab, job: dict[str, Any]) -> None:
    running = {"contender": "lora:r=1", "place": 2, "step": 3, "steps": 20, "eta_seconds": 1.0}
    own, head, _ = job["comparison"]["contenders"]
    head = head | {"status": "failed", "held_out": None, "error": {"code": "x", "message": "Memory ran out."}}
    changed = job | {
        "progress": job["progress"] | {"contender": running},
        "comparison": job["comparison"] | {"contenders": [own, head]},
    }
    tab.page.route(f"**/jobs/{job['id']}", lambda route: route.fulfill(json=changed))
    tab.open(f"/jobs/{job['id']}")
    tab.page.wait_for_selector("text=failed: Memory ran out.")
    tab.page.wait_for_selector("text=is trained: step 3 of 20")
    tab.page.wait_for_selector("dt:text-is('comparing')")


def test_a_job_at_its_time_limit_is_resumed_with_a_larger_one(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    spec = {**SPEC, "name": "limited", "dataset": job["spec"]["dataset"], "time_limit_seconds": 1}
    with up.client() as client:
        made = client.submit({**spec, "training": {**SPEC["training"], "epochs": 1000}, "artifacts": ["adapter"]})
        ended = client.wait(made["id"], SECONDS)
        assert ended["error"] is not None
        assert ended["error"]["code"] == "time_limit"
        tab.open(f"/jobs/{made['id']}")
        page = tab.page
        assert page.locator("dt:text-is('time limit') + dd").inner_text() == "1 s of training"
        assert "Resume the job with a larger time_limit_seconds" in page.inner_text(".error")
        page.wait_for_selector("text=Download adapter")
        page.wait_for_selector("h2:text-is('Try it')")
        page.evaluate("window.prompt = () => null")  # the tab answers dialogs by itself, with an empty text
        page.get_by_role("button", name="Resume limited").click()
        assert client.get_job(made["id"])["status"] == "failed"
        page.evaluate("window.prompt = (text, usual) => (usual === '2' || usual === 2 ? '600' : null)")
        page.get_by_role("button", name="Resume limited").click()
        page.wait_for_selector("dt:text-is('time limit') + dd:text-is('10 min 0 s of training')")
        page.get_by_role("button", name="Pause limited").wait_for()
        client.cancel(made["id"])
        page.wait_for_selector(".status.cancelled")


def test_a_finished_model_is_evaluated_on_other_data(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    page.get_by_label("Data set, with labels").select_option(job["spec"]["dataset"]["train"])
    page.get_by_role("button", name="Evaluate").click()
    link = page.locator("[aria-label='Table of evaluations'] tbody th a")
    link.wait_for()
    with up.client() as client:
        (made,) = client.list_jobs(evaluates=job["id"])
        assert client.wait(made["id"], timeout=SECONDS)["status"] == "succeeded"
        result = client.get_job(made["id"])["result"] or {}
    share = f"{100 * result['test_accuracy']:.3g} %"
    page.wait_for_selector(f"[aria-label='Table of evaluations'] >> text=accuracy {share}")
    link.click()
    page.wait_for_selector("text=the trained model of")
    page.wait_for_selector(f"text={result['test_rows']} rows of the test data")
    assert page.locator("#curves, #artifacts, #try").count() == 0


def test_a_spectrum_is_shown_before_a_run_and_of_a_data_set(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(f"/new?from={job['id']}")
    page = tab.page
    page.get_by_text("Spectrum of the model").click()
    cells = page.locator("[aria-label='Map of energies'] tbody tr")
    cells.first.wait_for()
    with up.client() as client:
        report = client.spectrum(job["spec"]["base_model"])["report"] or {}
    assert cells.count() == len(report["modules"])
    assert cells.first.locator("td").last.inner_text() == "100 %"
    page.get_by_role("button", name="Measure on the data set").click()
    page.get_by_role("link", name="follow it").click()
    page.wait_for_selector("h1:has-text('Spectrum of')")
    page.get_by_label("Energy of").wait_for(timeout=1_000 * SECONDS)
    titles = page.get_by_label("Energy of").locator("option").all_inner_texts()
    assert titles[-1] == "the weight, in its own directions"
    assert len(titles) == 7
    page.get_by_label("Energy of").select_option("the gradient, in the basis of the inputs")
    assert page.locator("[aria-label='Map of energies'] tbody td.level-7").count() > 0
    assert "predicted little" in page.inner_text("main")


def test_a_job_shows_the_directions_that_its_adapter_works_in(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    table = tab.page.locator("section[aria-labelledby=directions]")
    with up.client() as client:
        (event,) = (event["data"] for event in client.events(job["id"]) if event["type"] == "adapter_calibrated")
    assert table.locator("tbody tr").count() == len(event["modules"]) == 4
    shown = [meter.get_attribute("value") or "nothing" for meter in table.locator("meter").all()]
    assert list(map(float, shown)) == list(event["modules"].values())


def test_chat_job_shows_what_was_written_before_training(tab: Tab, up: Up, chat_job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{chat_job['id']}")
    page = tab.page
    page.wait_for_selector("dt:has-text('loss before training')")
    with up.client() as client:
        told = [event["data"] for event in client.events(chat_job["id"]) if event["type"] == "samples"]
    steps = [data["step"] for data in told]
    assert (steps[0], steps[-1]) == (0, chat_job["result"]["steps"])
    table = page.get_by_role("region", name="Table of samples")
    titles = ["Row", "Prompt", "Expected", "Before training", f"Step {steps[-1]}"]
    assert table.locator("th").all_inner_texts() == titles
    cells = table.locator("tbody tr").first.locator("td")
    assert cells.nth(2).text_content() == told[0]["samples"][0]["expected"]
    written = [cells.nth(column).text_content() for column in (3, 4)]
    assert written == [data["samples"][0]["completion"] for data in (told[0], told[-1])]


def test_comparison_shows_metrics_and_spec_differences(
    tab: Tab, up: Up, job: dict[str, Any], chat_job: dict[str, Any]
) -> None:
    tab.open(f"/compare?jobs={job['id']},{chat_job['id']}")
    page = tab.page
    steps, *lines = page.wait_for_selector("[data-chart=loss]:has(canvas)").evaluate(CHART)  # type: ignore[union-attr]
    with up.client() as client:
        for shown, ended in zip(lines, (job, chat_job), strict=True):
            found = {step: loss for step, loss in zip(steps, shown, strict=True) if loss is not None}
            rows = client.metrics(ended["id"])
            assert found == {row["step"]: row["values"]["loss"] for row in rows if row["kind"] == "train"}
    for axis, last in (("epoch", job["progress"]["epoch"]), ("time", None)):
        page.get_by_label("by").select_option(axis)
        page.wait_for_url(f"**x={axis}")
        label = "seconds" if axis == "time" else axis
        page.wait_for_selector(f"[data-chart=loss]:has-text('{label}')")
        places = page.locator("[data-chart=loss]").evaluate(CHART)[0]
        assert last is None or places[-1] == last
        assert places[0] >= 0
    table = {row[0]: row[1:] for row in page.evaluate(CELLS)}
    assert table["base_model"] == ['"tiny"', '"tiny-llama"']
    assert table["adamss.use_asa"] == ["true", "false"]
    assert table["adamss.asa_target_subspaces"] == ["6", "\N{EN DASH}"]  # without pruning it has no effect
    assert "training.seed" not in table  # the same in both


def test_of_compared_jobs_the_missing_one_is_named_and_the_others_shown(tab: Tab, job: dict[str, Any]) -> None:
    tab.open(f"/compare?jobs={job['id']},nope,{job['id']}")
    page = tab.page
    page.wait_for_selector("[role=alert]:has-text('nope')")
    page.wait_for_selector("[data-chart=loss] canvas")
    assert len(page.locator("[data-chart=loss]").evaluate(CHART)) == 2  # the steps, and the job once
    assert page.locator("#differences").count() == 0
    tab.complaints.clear()  # the browser names what was not found


def test_compared_jobs_have_intervals_and_a_paired_test(
    tab: Tab, up: Up, job: dict[str, Any], chat_job: dict[str, Any]
) -> None:
    """A job without numbers is named, and so is the reason where two cannot be tested."""
    paired: dict[str, Any] = {"data": "train", "rows": 8, "measure": "accuracy", "method": "McNemar", "p_value": 0.031}
    paired |= {"difference": -0.25, "low": -0.5, "high": -0.125, "differ": True}
    tested = {"job": "", "other": job["id"], "is_baseline": True, "differences": [], "metrics": [], "judgements": []}
    with up.client() as client:
        waiting = client.submit({**job["spec"], "name": "waits", "resources": {"kind": "none-such"}})
        answer = RunComparisonOut.model_validate({**tested, "paired": paired, "not_paired": None}).model_dump(
            mode="json"
        )
        tab.page.route(f"**/jobs/{waiting['id']}/comparison?*", lambda route: route.fulfill(json=answer))
        try:
            tab.open(f"/compare?jobs={job['id']},{waiting['id']},{chat_job['id']}")
            page = tab.page
            page.wait_for_selector(f"text=Without numbers: waits {waiting['id'][-4:]} (queued).")
            region = page.get_by_role("region", name="Metrics of the jobs")
            shown = region.locator("tr:has(th:text-is('accuracy')) td").first.inner_text()
            assert " to " in shown
            assert shown.startswith(f"{100 * job['result']['eval_accuracy']:.3g} %")
            lines = page.locator(".paired li")
            page.wait_for_selector(".paired li:has-text('no paired test: ')")
            assert "not evaluated on the same data set" in lines.last.inner_text()
            verdict = (
                "the rows show a difference accuracy -25 (-50 to -12.5 points) on 8 held-out rows, by McNemar, p 0.031"
            )
            assert lines.first.inner_text().endswith(verdict)
            page.wait_for_selector("text=It is the pinned baseline.")
            page.get_by_label("Compared with").select_option(chat_job["id"])
            page.wait_for_url(f"**with={chat_job['id']}")
        finally:
            client.cancel(waiting["id"])
            client.delete_job(waiting["id"])


def test_model_is_added_from_a_file_and_deleted(tab: Tab, up: Up, tmp_path: Path, job: dict[str, Any]) -> None:
    """The operator's model shows its users and no button; an uploaded one has its files, and goes again."""
    page = tab.page
    tab.open("/models/tiny")
    page.wait_for_selector(f".users a[href='#/jobs/{job['id']}']:text-is('{job['name']}')")
    assert page.get_by_role("button", name="Delete tiny").count() == 0
    page.get_by_text("Spectrum of the model").click()
    page.locator("[aria-label='Map of energies'] tbody tr").first.wait_for()
    archive = tmp_path / "mine.tar"
    archive.write_bytes(tar_of(files_of(up.home / "models" / "tiny")))
    page.get_by_label("Name").fill("team/mine")
    page.set_input_files("input[type=file]", archive)
    page.wait_for_selector("h2:has-text('team/mine')")
    assert "model.safetensors" in page.inner_text("[aria-label='Table of files']")
    row = page.inner_text("[aria-label='Table of models'] tr:has-text('team/mine')")
    assert "bert" in row
    assert "upload" in row
    assert "No job uses it." in page.inner_text("main")
    page.get_by_role("button", name="Delete team/mine").click()
    page.wait_for_function("() => !document.querySelector('main').innerText.includes('team/mine')")
    with up.client() as client:
        assert "team/mine" not in [model["name"] for model in client.models()]


def test_presets_fill_the_form_and_the_schedule_is_drawn(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(f"/new?from={job['id']}")
    page = tab.page
    chart = page.wait_for_selector("#plan [data-chart=schedule]:has(canvas)")
    assert chart is not None
    steps, wanted = chart.evaluate(CHART)
    with up.client() as client:
        plan = client.dry_run(job["spec"])
    drawn = dict(zip(steps, wanted, strict=True))
    assert {entry["step"]: entry["wanted"] for entry in plan["schedule"]}.items() <= drawn.items()
    assert f"{plan['estimate']['steps']:,}" in page.inner_text("#plan")
    page.select_option("#preset", "regression")
    assert page.input_value("#field-problem_type") == "regression"
    assert page.input_value("#field-name") == job["name"]
    page.wait_for_selector("#plan .error")  # the labels are words
    tab.complaints.clear()  # the browser names the refused dry run


def test_an_example_keeps_the_columns_of_the_file_and_none_restores_them(tab: Tab, up: Up, tmp_path: Path) -> None:
    """Before: the example's own columns replaced those that were understood, for good."""
    file = tmp_path / "pairs.csv"
    lines = "".join(f"film {n} is good,a film of {n},{('same', 'other')[n % 2]}\n" for n in range(40))
    file.write_text(f"sentence1,sentence2,label\n{lines}")
    page = tab.page
    tab.open("/new")
    page.set_input_files("#new-file", file)
    page.wait_for_selector(".understood:has-text('text_pair: sentence2')")
    page.select_option("#preset", "regression")
    assert page.input_value("#field-problem_type") == "regression"
    shown = [page.input_value(f"#field-dataset-{name}") for name in ("text", "text_pair", "label")]
    assert shown == ["sentence1", "sentence2", "label"]
    page.wait_for_selector("#plan .error")  # the labels are words
    tab.complaints.clear()  # the browser names the refused dry run
    page.select_option("#preset", "")
    page.wait_for_selector("#plan dl")
    assert page.input_value("#field-dataset-text") == "sentence1"
    assert page.locator("#field-problem_type").input_value() == ""
    with up.client() as client:
        client.delete_dataset(page.input_value("#field-dataset-train"))


def test_columns_of_the_default_task_are_asked_for(tab: Tab, up: Up, tmp_path: Path) -> None:
    """Before: "choose its columns below", but there were none, and the refusal named an id."""
    file = tmp_path / "odd.csv"
    file.write_text("id,remark,stars,verdict\n" + "".join(f"{n},a{n % 9},{n % 5},{n % 2}\n" for n in range(40)))
    page = tab.page
    tab.open("/new")
    page.set_input_files("#new-file", file)
    page.wait_for_selector(".understood:has-text('is not clear')")
    page.wait_for_selector("#plan:has-text(\"Data set 'odd.csv'\")")
    page.select_option("#field-dataset-text", "remark")
    page.select_option("#field-dataset-label", "verdict")
    page.wait_for_selector("#plan dl")
    tab.complaints.clear()  # the browser names the refused dry run
    with up.client() as client:
        client.delete_dataset(page.input_value("#field-dataset-train"))


def test_missing_worker_shows_a_notice(tab: Tab, job: dict[str, Any]) -> None:
    body = json.dumps({"ready": False, "database": True, "migrated": True, "broker": True, "worker": False})
    tab.page.route("**/readyz", lambda route: route.fulfill(body=body, content_type="application/json"))
    tab.open("/")
    tab.page.reload()
    tab.page.wait_for_selector("header .notice:has-text('No active worker')")


def test_failed_job_shows_its_error(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    with up.client() as client:
        (up.home / "models" / "broken").mkdir()
        for file in (up.home / "models" / "tiny").iterdir():
            (up.home / "models" / "broken" / file.name).write_bytes(file.read_bytes())
        spec = {**SPEC, "name": "fails", "base_model": "broken", "dataset": job["spec"]["dataset"], "retries": 0}
        client.dry_run(spec)
        (up.home / "models" / "broken" / "model.safetensors").write_bytes(b"damaged")
        failed = client.wait(client.submit(spec)["id"], timeout=120)
    assert failed["status"] == "failed"
    assert failed["error"] is not None
    tab.open(f"/jobs/{failed['id']}")
    shown = tab.page.wait_for_selector("main .error")
    assert shown is not None
    assert failed["error"]["message"] in shown.inner_text()
    assert str(failed["error"]["hint"]) in shown.inner_text()


def test_stream_reconnects_after_a_bad_gateway(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    """As a proxy responds while the service restarts: a browser does not reconnect by itself.

    Once, the job stayed frozen until the page was reloaded.
    """
    page = tab.page
    answers = iter([502, 503])

    def stream(route: Route) -> None:
        status = next(answers, None)
        if status is None:
            route.continue_()
        else:
            route.fulfill(status=status, body="the service is away")

    page.route("**/stream?*", stream)
    spec = {**SPEC, "name": "behind a proxy", "dataset": job["spec"]["dataset"]}
    with up.client() as client:
        made = client.submit({**spec, "training": {**SPEC["training"], "epochs": 1000}})
        with page.expect_response(lambda answer: answer.status == 503):
            tab.open(f"/jobs/{made['id']}")
        page.wait_for_selector(".status.running")
        client.cancel(made["id"])
        page.wait_for_selector(".status.cancelled")
    tab.complaints[:] = [text for text in tab.complaints if "50" not in text]  # Chromium logs the two responses


def test_clone_keeps_every_field_and_delete_removes_the_job(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    """Null is a value, a pattern is not a list, and a second click on Submit is not a second job.

    Once, the clone clipped gradients that the job did not clip, and its pattern was split at the comma.
    """
    page = tab.page
    given = {"target_modules": PATTERN, "init_weights": None, "num_subspaces": 4}
    spec = {"name": "a pattern", "base_model": SPEC["base_model"], "dataset": job["spec"]["dataset"], "adamss": given}
    training = {"max_steps": 3, "max_grad_norm": None, "head_learning_rate": None, "class_weights": {"label0": 2.0}}
    with up.client() as client:
        made = client.submit({**spec, "training": training, "artifacts": ["lora"]})
        client.wait(made["id"], timeout=SECONDS)
        tab.open(f"/new?from={made['id']}")
        page.wait_for_selector("#plan >> text=subspaces")
        page.get_by_role("button", name="Submit").dblclick()
        page.wait_for_selector("main[data-job]")
        copies = [one for one in client.list_jobs(limit=20) if one["id"] != made["id"] and "pattern" in one["name"]]
        assert len(copies) == 1
        copied = client.get_job(copies[0]["id"])["spec"]
        for block in ("adamss", "training"):
            for name, value in made["spec"][block].items():
                assert copied[block][name] == value, name
        client.wait(copies[0]["id"], timeout=SECONDS)
        page.wait_for_selector("h1 .status.succeeded")
        page.wait_for_load_state("networkidle")  # what the page reads of a job that ends would be of one that is gone
        page.get_by_role("button", name="Delete").click()
        page.wait_for_selector("h1:text-is('Jobs')")
        row = page.locator(f"tbody tr[data-job={made['id']}]")
        row.get_by_role("button", name="Actions").click()
        row.get_by_role("menuitem", name="Delete").click()
        row.wait_for(state="detached")
        assert not {made["id"], copies[0]["id"]} & {one["id"] for one in client.list_jobs(limit=50)}


def test_hidden_tab_closes_its_stream_and_catches_up(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    """A browser opens six connections to a service: six visible jobs would block every other request."""
    page = tab.page
    spec = {**SPEC, "name": "in the background", "dataset": job["spec"]["dataset"]}
    with up.client() as client:
        made = client.submit({**spec, "training": {**SPEC["training"], "epochs": 1000}})
        with page.expect_request("**/stream?*") as watched:
            tab.open(f"/jobs/{made['id']}")
        page.wait_for_selector(".status.running")
        with page.expect_event("requestfailed", lambda request: request == watched.value):
            page.evaluate(HIDDEN, True)
        client.cancel(made["id"])
        client.wait(made["id"], timeout=SECONDS)
        assert page.locator(".status.running").count() == 1
        page.evaluate(HIDDEN, False)
        page.wait_for_selector(".status.cancelled")
