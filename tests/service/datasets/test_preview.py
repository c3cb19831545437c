"""Preview of the first examples, encoded by real tokenizers in a child process."""

from __future__ import annotations

from typing import Any

import pytest

from service.cli.datasets import print_examples
from tests.adamss_core.training.chats import TEMPLATE
from tests.service.jobs.test_chat_parts import add_model, chat
from tests.service.support import MODEL, Service, error_of, jsonl, rows

pytestmark = pytest.mark.slow


def examples(service: Service, dataset: dict[str, Any], **spec: Any) -> dict[str, Any]:
    response = service.client.post(f"/datasets/{dataset['id']}/preview", json={"base_model": MODEL, **spec})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_text_is_shown_as_truncated_tokens(service: Service) -> None:
    dataset = service.upload("text,label\n" + "a good film with a bad plot,pos\n,neg\ngood,neg\n" * 3)
    shown = examples(service, dataset, training={"max_length": 5})
    assert (shown["task"], shown["limit"], shown["checked"]) == ("text-classification", 5, 9)
    assert (shown["over_length"], shown["left_out"]) == (3, {"without a text": 3})
    first, second = shown["examples"][:2]
    assert (first["row"], first["target"], first["truncated"], first["trained_tokens"]) == (1, "pos", True, 0)
    assert [token["token"] for token in first["tokens"]] == ["[UNK]", "good", "film", "[UNK]", "[UNK]"]
    assert [token["id"] for token in first["tokens"]] == [1, 4, 6, 1, 1]
    assert (second["row"], second["text"], second["truncated"]) == (3, "good", False)


def test_words_are_shown_with_their_tags(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = service.upload("good B-A\nfilm I-A\nplot O\n\nplot O\nbad O\n\n" * 3, "words.conll")
    shown = examples(service, dataset)
    assert (shown["task"], shown["examples"][0]["words"]) == ("token-classification", ["good", "film", "plot"])
    print_examples(shown)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("tokens: good/B-A film/I-A plot/O")
    assert lines[1] == "[good| film| plot]"


def test_errors_name_their_field(service: Service) -> None:
    dataset = service.upload(rows(8))
    path = f"/datasets/{dataset['id']}/preview"
    for body, param in (
        ({}, "base_model"),
        ({"base_model": "nothere"}, "base_model"),
        ({"base_model": MODEL, "training": {"max_length": 1}}, "training.max_length"),
    ):
        response = service.client.post(path, json=body)
        assert response.status_code == 422, response.text
        assert error_of(response.json())["param"] == param
    assert service.client.post("/datasets/ds_nothere22/preview").status_code == 404
    assert list(service.settings.files.scratch.glob("preview-*")) == []


def test_remarks_reach_api_and_terminal(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    add_model(service, "talks", TEMPLATE)
    dataset = service.upload(jsonl(chat(name="Ann"), *[chat()] * 3), "chats.jsonl")
    shown = examples(service, dataset, task="text-generation", base_model="talks")
    (remark,) = shown["remarks"]
    assert remark["code"] == "parts_not_shown"
    assert "name (1 row)" in remark["message"]
    print_examples(shown)
    assert remark["message"] in capsys.readouterr().out
