"""Parts of chats that the base model's template hides are named before a job runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adamss_core.inspection import inspect_model
from service.base_models import repository as base_models
from service.base_models.service import folder_version
from tests.adamss_core.training.chats import TEMPLATE, build_llama
from tests.service.support import Service, jsonl

NO_SYSTEM = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + TEMPLATE


def chat(*first: dict[str, str], **keys: Any) -> dict[str, Any]:
    question = {"role": "user", "content": "What colour is snow?", **keys}
    return {"messages": [*first, question, {"role": "assistant", "content": "It is white."}]}


def add_model(service: Service, name: str, template: str) -> Path:
    folder = build_llama(service.settings.files.model(name), template=template)
    with service.db.write() as session:  # in this process: a child would import torch once more
        base_models.keep(session, name, folder_version(folder), inspect_model(folder))
    return folder


def test_parts_are_counted_at_upload_and_compared_with_the_template(service: Service) -> None:
    system = {"role": "system", "content": "Be short."}
    dataset = service.upload(jsonl(*[chat(system)] * 3, *[chat(name="Ann")] * 2, *[chat()] * 15), "chats.jsonl")
    (column,) = dataset["columns"]
    assert column["parts"] == {"system message": 3, "name": 2}
    notice = next(notice for notice in dataset["notices"] if notice["code"] == "parts_of_chats")
    assert "system message (3 rows), name (2 rows)" in notice["message"]

    add_model(service, "shows", TEMPLATE)
    add_model(service, "hides", NO_SYSTEM)
    for model, hidden in (("shows", "name (2 rows)"), ("hides", "system message (3 rows), name (2 rows)")):
        spec = {"name": "x", "task": "text-generation", "base_model": model, "dataset": {"train": dataset["id"]}}
        response = service.client.post("/jobs?dry_run=true", json=spec)
        assert response.status_code == 200, response.text
        assert [warning for warning in response.json()["warnings"] if "chat template" in warning] == [
            f"The chat template of '{model}' does not show parts of the training rows, so nothing is learnt from them: "
            f"{hidden}."
        ]


def test_tools_and_order_are_named_before_a_job_runs(service: Service) -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    call = {"role": "assistant", "content": None, "tool_calls": [tool]}
    rows = [{**chat(), "tools": [tool]} for _ in range(9)] + [
        {"messages": [*chat()["messages"], call, *chat()["messages"]]}
    ]
    dataset = service.upload(jsonl(*rows), "chats.jsonl")
    assert dataset["suggestion"]["dataset"] == {"messages": "messages", "tools": "tools"}
    add_model(service, "without-tools", TEMPLATE)
    spec = {"name": "x", "base_model": "without-tools", "dataset": {"train": dataset["id"]}}
    response = service.client.post("/jobs?dry_run=true", json=spec).json()
    assert response["spec"]["dataset"]["tools"] == "tools"
    hidden, order = (next(text for text in response["warnings"] if part in text) for part in ("show parts", "in turn"))
    assert "tool_calls (1 row), tools (9 rows)" in hidden
    assert "two turns of one role in a row (1 row)" in order


def test_instructions_are_taken_from_the_suggestion(service: Service) -> None:
    rows = [{"instruction": f"Name {n}.", "input": f"the {n}", "output": f"blue {n}"} for n in range(12)]
    dataset = service.upload(jsonl(*rows), "alpaca.jsonl")
    assert dataset["suggestion"]["dataset"] == {"prompt": ["instruction", "input"], "completion": "output"}
    folder = add_model(service, "base", TEMPLATE)
    (folder / "chat_template.jinja").unlink()
    with service.db.write() as session:
        base_models.keep(session, "base", folder_version(folder), inspect_model(folder))
    spec = {"name": "x", "base_model": "base", "dataset": {"train": dataset["id"]}}
    response = service.client.post("/jobs?dry_run=true", json=spec).json()
    assert response["spec"]["dataset"]["prompt"] == ["instruction", "input"]
    assert response["suggested"] == ["task", "dataset.prompt", "dataset.completion"]
    assert any("has no chat template: the instructions are read as text" in text for text in response["warnings"])
    wrong = {**spec, "task": "text-generation"}
    wrong["dataset"] = {**spec["dataset"], "prompt": ["instruction", "inputs"], "completion": "output"}  # type: ignore[dict-item]
    error = service.client.post("/jobs?dry_run=true", json=wrong).json()["error"]
    assert error["param"] == "dataset.prompt[1]"
    assert "dataset.prompt ['instruction', 'input'], dataset.completion 'output' would do" in error["message"]


def test_chats_of_questions_and_answers_have_no_parts(service: Service) -> None:
    (column,) = service.upload(jsonl(*[chat()] * 5), "chats.jsonl")["columns"]
    assert column["parts"] is None
