"""Trying a model on its job's page: conversations, checkpoints, the base model beside it, and files."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from tests.browser.conftest import SECONDS, Tab
from tests.e2e.conftest import Up

TURNS = """() => [...document.querySelectorAll(".chat li")].map((turn) =>
    [turn.className, turn.querySelector(".content").textContent])"""
ENDED = "() => !document.querySelector('#try ~ form button.primary').disabled"
# A model that writes one piece and then goes on for ever.
SLOW = """() => {
    const real = window.fetch;
    window.fetch = (path, options) => !path.endsWith("/stream") ? real(path, options) : Promise.resolve(new Response(
        new ReadableStream({ start(controller) {
            controller.enqueue(new TextEncoder().encode('data: {"of": "trained", "text": "It is"}\\n\\n'));
            options.signal.addEventListener("abort", () => controller.error(new DOMException("", "AbortError")));
        } })));
}"""
SHARES = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
SCORES = "async (scores) => (await import('/static/answer.js')).percentages(scores)"
ROWS = """() => [...document.querySelectorAll("[aria-label='Scores of the classes'] tbody tr")].map((row) =>
    [...row.children].map((cell) => cell.innerText))"""


def test_chat_sends_the_whole_conversation(tab: Tab, up: Up, chat_job: dict[str, Any]) -> None:
    """Each reply is the API's to all messages so far."""
    asked: list[Any] = []
    tab.page.on("request", lambda sent: asked.append(sent.post_data_json) if sent.url.endswith("/stream") else None)
    tab.open(f"/jobs/{chat_job['id']}")
    page = tab.page
    questions = ["What colour is sky?", "What colour is snow?"]
    messages: list[dict[str, str]] = []
    page.fill("#try-length", "8")
    with up.client() as client:
        for number, question in enumerate(questions, start=1):
            page.fill("#try-text", question)
            page.keyboard.press("Enter") if number == 1 else page.get_by_role("button", name="Send").click()
            page.wait_for_selector(f".chat li.assistant:nth-child({2 * number})")
            page.wait_for_function(ENDED)
            messages.append({"role": "user", "content": question})
            assert asked[-1] == {"inputs": [{"messages": messages}], "max_new_tokens": 8, "temperature": 0}
            (answer,) = client.predict(chat_job["id"], [{"messages": messages}], max_new_tokens=8)
            messages.append({"role": "assistant", "content": answer["text"]})
    assert page.evaluate(TURNS) == [[turn["role"], turn["content"] or "(empty)"] for turn in messages]
    assert page.input_value("#try-text") == ""
    page.get_by_role("button", name="Clear").click()
    assert page.evaluate(TURNS) == []


def test_checkpoint_is_tried_and_published(tab: Tab, up: Up, chat_job: dict[str, Any]) -> None:
    """The conversation asks the chosen checkpoint; its button makes a job, whose page opens."""
    asked: list[Any] = []
    tab.page.on("request", lambda sent: asked.append(sent.post_data_json) if sent.url.endswith("/stream") else None)
    tab.open(f"/jobs/{chat_job['id']}")
    page = tab.page
    with up.client() as client:
        step = client.checkpoints(chat_job["id"])[0]["step"]
    page.locator("#try-model").select_option(str(step))
    page.fill("#try-text", "What colour is sky?")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".chat li.assistant")
    page.wait_for_function(ENDED)
    assert asked[-1]["checkpoint"] == step
    page.get_by_role("button", name=f"Publish the checkpoint of step {step}").click()
    page.wait_for_selector(f"h1:has-text('at step {step}')")
    made = page.locator("main[data-job]").get_attribute("data-job")
    assert made is not None
    with up.client() as client:
        assert client.get_job(made)["resolved"]["publishes"] == {"job": chat_job["id"], "step": step}
        client.wait(made, timeout=SECONDS)
        page.goto("about:blank")  # the view of a job that is deleted asks for it once more, and says so in the console
        client.delete_job(made)


def test_an_answer_is_shown_as_the_service_says(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    """Before: the page knew three keys of answers, and headed those of all other tasks with nothing."""
    with up.client() as client:
        tasks = client.tasks()
    parts = [
        {"name": "found", "title": "Found", "decimals": None, "separator": " + "},
        {"name": "share", "title": "Share", "decimals": 2, "separator": ", "},
        {"name": "missing", "title": "Missing", "decimals": None, "separator": ", "},
    ]
    listed = {"object": "list", "data": [task | {"answer": parts} for task in tasks], "has_more": False, "next": None}
    answer = {"data": [{"found": ["a", None], "share": 0.5}], "artifact": "lora", "seconds": 0.25}
    page = tab.page
    page.route("**/tasks", lambda route: route.fulfill(json=listed))
    page.route("**/predict", lambda route: route.fulfill(json=answer))
    page.goto("about:blank")  # the list, which the sign-in opened, knows the tasks already
    tab.open(f"/jobs/{job['id']}")
    page.fill("#try-text", "a good film")
    page.get_by_role("button", name="Predict").click()
    shown = page.wait_for_selector("[role=status] p")
    assert shown is not None
    assert shown.inner_text() == "a + \u2013, share 0.50, missing \u2013"
    page.wait_for_selector("text=By the LoRA, in 0.25 s.")


def test_failed_chat_request_keeps_the_draft(tab: Tab, chat_job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{chat_job['id']}")
    page = tab.page
    body = json.dumps({"error": {"type": "x", "code": "busy", "message": "Too many wait.", "param": None}})
    page.route("**/predict/stream", lambda route: route.fulfill(status=429, body=body, content_type="application/json"))
    page.fill("#try-text", "Hello")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector("form .error:has-text('Too many wait.')")
    assert page.input_value("#try-text") == "Hello"
    assert page.evaluate(TURNS) == []
    tab.complaints.clear()  # the browser names the refused request


def test_base_model_writes_beside_the_trained_one(tab: Tab, up: Up, chat_job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{chat_job['id']}")
    page = tab.page
    page.get_by_text("System message").first.click()
    page.fill("#try-system", "Be short.")
    page.fill("#try-length", "8")
    page.check("#try-base")
    page.fill("#try-text", "What colour is sky?")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".chat li.assistant .beside .written:nth-child(2)")
    page.wait_for_function(ENDED)
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "What colour is sky?"}]
    with up.client() as client:
        (answer,) = client.predict(chat_job["id"], [{"messages": messages}], max_new_tokens=8, with_base=True)
    shown = page.locator(".beside .content").all_text_contents()
    assert shown == [text or "(empty)" for text in (answer["text"], answer["base"]["text"])]
    assert page.locator(".beside b").all_inner_texts() == ["Trained", "Base model"]


def test_writing_is_stopped_and_what_is_there_stays(tab: Tab, chat_job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{chat_job['id']}")
    page = tab.page
    page.evaluate(SLOW)
    page.fill("#try-text", "Hello")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".chat .content:text-is('It is')")
    assert page.locator("#try ~ form button.primary").is_disabled()
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector(".chat .written:has-text('stopped')")
    assert page.evaluate(TURNS) == [["user", "Hello"], ["assistant", "It is"]]


def test_classes_are_sorted_and_sum_to_a_hundred(tab: Tab, up: Up, job: dict[str, Any]) -> None:
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    assert page.evaluate(SCORES, SHARES) == [["a", 33.4], ["b", 33.3], ["c", 33.3]]
    assert page.evaluate(SCORES, {"a": 0.9, "b": 0.8}) == [["a", 90], ["b", 80]]  # of classes that go together
    page.check("#try-base")  # offered, as the base model is a classifier of these classes
    page.fill("#try-text", "a good film")
    page.get_by_role("button", name="Predict").click()
    page.wait_for_selector("[aria-label='Scores of the classes']")
    rows = page.evaluate(ROWS)
    with up.client() as client:
        (answer,) = client.predict(job["id"], ["a good film"], with_base=True)
    assert [row[0] for row in rows] == sorted(answer["scores"], key=answer["scores"].get, reverse=True)
    for column, scores in ((-2, answer["scores"]), (-1, answer["base"]["scores"])):
        shown = {row[0]: float(row[column].removesuffix(" %")) for row in rows}
        assert round(sum(shown.values()), 1) == 100
        assert all(abs(shown[name] - 100 * share) < 0.11 for name, share in scores.items())


def test_a_file_is_predicted_and_downloaded(tab: Tab, up: Up, job: dict[str, Any], tmp_path: Path) -> None:
    """As the command line does; the data set that the file becomes for that is not kept."""
    texts = [f"film {number} was {'good' if number % 2 else '=bad'}" for number in range(20)]
    file = tmp_path / "new.csv"
    file.write_text("id,text\n" + "".join(f"{number},{text}\n" for number, text in enumerate(texts)))
    tab.open(f"/jobs/{job['id']}")
    page = tab.page
    page.get_by_text("Predict a file").click()
    with up.client() as client:
        before = {entry["id"] for entry in client.datasets()}
        page.set_input_files("#try-file", file)
        page.wait_for_selector("text=20 of 20 rows of new.csv")
        with page.expect_download() as downloaded:
            page.get_by_role("button", name="Download CSV").click()
        rows = list(csv.DictReader(Path(downloaded.value.path()).read_text().splitlines()))
        assert downloaded.value.suggested_filename == "new-predictions.csv"
        assert [row["text"] for row in rows] == texts
        assert [row["predicted_label"] for row in rows] == [one["label"] for one in client.predict(job["id"], texts)]
        assert {entry["id"] for entry in client.datasets()} == before
        file.write_text("id,words\n1,a\n")
        page.set_input_files("#try-file", file)
        page.wait_for_selector("#try-batch .error:has-text(\"no column 'text'\")")
