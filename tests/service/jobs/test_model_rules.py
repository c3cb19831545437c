"""Base models that do not fit themselves or the job: refused at the dry run, or warned of."""

from __future__ import annotations

from typing import Any

import pytest

from service.base_models import repository as base_models
from service.base_models.service import folder_version
from tests.service.support import MODEL, Service, jsonl


def know(service: Service, facts: dict[str, Any], **changes: Any) -> None:
    """Changes what was found out about the tiny model."""
    with service.db.write() as session:
        base_models.keep(session, MODEL, folder_version(service.settings.files.model(MODEL)), facts | changes)


def warnings_for(service: Service, labels: list[str], **changes: Any) -> list[str]:
    """What a dry run on rows with these labels says about heads."""
    rows = jsonl(*({"text": f"text {n}", "label": labels[n % len(labels)]} for n in range(24)))
    spec = service.spec(dataset={"train": service.upload(rows, "rows.jsonl")["id"]}, **changes)
    response = service.client.post("/jobs?dry_run=true", json=spec)
    assert response.status_code == 200, response.text
    return [warning for warning in response.json()["warnings"] if "head" in warning]


def test_a_tokenizer_with_more_tokens_than_rows(service: Service, tiny_facts: dict[str, Any]) -> None:
    assert tiny_facts["token_ids"] == tiny_facts["embedding_rows"] == 8
    know(service, tiny_facts, token_ids=9)
    refused = service.refused()
    assert (refused["code"], refused["param"]) == ("tokenizer_mismatch", "base_model")
    assert "9 token ids, but the model's embeddings have 8 rows" in refused["message"]
    assert "resize_token_embeddings(9)" in refused["message"]
    (listed,) = service.client.get("/models").json()["data"]
    assert "9 token ids" in listed["problem"]
    know(service, tiny_facts, token_ids=7, head_classes=[])  # rows that no token has are usual
    assert warnings_for(service, ["a", "b"]) == []


@pytest.mark.parametrize(
    ("theirs", "labels", "says"),
    [
        ([], ["a", "b"], None),
        (["b", "a"], ["a", "b"], None),  # matched by name
        (["B", "A"], ["a", "b"], None),
        (["LABEL_0", "LABEL_1"], ["0", "1"], None),
        (["x", "y", "z"], ["a", "b"], None),  # nobody expects that head
        (["x", "y"], ["a", "b"], "give the labels of the data the names of its classes"),
        (["a", "b", "c"], ["a", "b"], "has a head for 'a', 'b', 'c', but this job's classes are 'a', 'b'"),
        (["LABEL_0", "LABEL_1"], ["a", "b"], "set id2label in the config.json"),
    ],
)
def test_a_classifier_of_other_classes_is_warned_of(
    service: Service, tiny_facts: dict[str, Any], theirs: list[str], labels: list[str], says: str | None
) -> None:
    know(service, tiny_facts, head_classes=theirs)
    warnings = warnings_for(service, labels)
    assert len(warnings) == (says is not None)
    assert says is None or says in warnings[0]


@pytest.mark.parametrize(
    ("adamss", "param"),
    [
        ({"target_modules": ["lm_head"]}, "adamss.target_modules"),
        ({"target_modules": r".*(query|lm_head)"}, "adamss.target_modules"),
        ({"modules_to_save": ["word_embeddings"]}, "adamss.modules_to_save[0]"),
    ],
)
def test_modules_that_share_a_weight(
    service: Service, tiny_facts: dict[str, Any], adamss: dict[str, Any], param: str
) -> None:
    modules = {**tiny_facts["modules"], "lm_head": "Linear"}
    know(service, tiny_facts, modules=modules, shared_weights={"lm_head": "bert.embeddings.word_embeddings"})
    refused = service.refused(adamss=adamss)
    assert (refused["code"], refused["param"]) == ("target_shares_weight", param)
    assert "shares its weight with" in refused["message"]
    assert "Leave it out" in refused["message"]


def test_every_linear_layer_leaves_tied_output_embeddings_out(service: Service, tiny_facts: dict[str, Any]) -> None:
    know(service, tiny_facts, shared_weights={"lm_head": "bert.embeddings.word_embeddings"}, head_classes=[])
    assert warnings_for(service, ["a", "b"], adamss={"target_modules": "all-linear"}) == []


def test_facts_of_an_older_format_are_inspected_again(
    service: Service, tiny_facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    know(service, tiny_facts, format=f"2{tiny_facts['format'][1:]}", token_ids=None)
    monkeypatch.setattr("service.base_models.inspection.inspect", lambda *_, **__: tiny_facts | {"token_ids": 9})
    assert service.refused()["code"] == "tokenizer_mismatch"


def test_an_encoder_decoder_generates_from_prompts_only(service: Service, tiny_facts: dict[str, Any]) -> None:
    know(service, tiny_facts, tasks=["text-classification", "text-generation"], is_encoder_decoder=True)
    pairs = jsonl(*({"prompt": f"question {n}", "completion": "yes"} for n in range(24)))
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    chats, texts = (jsonl(*([row] * 24)) for row in ({"messages": chat}, {"text": "a b"}))
    for rows, field in ((chats, "messages"), (texts, "text")):
        dataset = {"train": service.upload(rows, f"{field}.jsonl")["id"]}
        refused = service.refused(task="text-generation", dataset=dataset)
        assert (refused["code"], refused["param"]) == ("needs_completions", f"dataset.{field}")
        assert "Name the columns dataset.prompt and dataset.completion" in refused["message"]
    spec = service.spec(task="text-generation", dataset={"train": service.upload(pairs, "pairs.jsonl")["id"]})
    response = service.client.post("/jobs?dry_run=true", json=spec)
    assert response.status_code == 200, response.text
    assert response.json()["spec"]["dataset"]["completion"] == "completion"


@pytest.mark.parametrize("guessed", [True, False])
def test_targets_that_are_guessed_are_named(service: Service, tiny_facts: dict[str, Any], guessed: bool) -> None:
    know(service, tiny_facts, targets_guessed=guessed)
    response = service.client.post("/jobs?dry_run=true", json=service.spec(adamss={"target_modules": None}))
    assert response.status_code == 200, response.text
    said = [warning for warning in response.json()["warnings"] if "adamss.target_modules is not set" in warning]
    assert len(said) == guessed
    assert not guessed or "query and value of each attention layer" in said[0]


def test_targets_of_former_names_are_planned_under_their_present_ones(
    service: Service, tiny_facts: dict[str, Any]
) -> None:
    def present(name: str) -> str:
        return name.replace("self.query", "q_proj").replace("self.value", "v_proj")

    linear = [module | {"name": present(module["name"])} for module in tiny_facts["linear_modules"]]
    modules = {present(name): kind for name, kind in tiny_facts["modules"].items()}
    know(service, tiny_facts, model_type="vit", linear_modules=linear, modules=modules)
    plans = {}
    for targets in (["query", "value"], ["q_proj", "v_proj"], ["c_attn"]):
        response = service.client.post("/jobs?dry_run=true", json=service.spec(adamss={"target_modules": targets}))
        plans[targets[0]] = response.json()
    assert plans["query"]["estimate"]["modules"] == plans["q_proj"]["estimate"]["modules"]
    said = {name: [text for text in plans[name]["warnings"] if "before" in text] for name in ("query", "q_proj")}
    assert said["q_proj"] == []
    assert "'query' is now q_proj, 'value' is now v_proj" in said["query"][0]
    assert plans["c_attn"]["error"]["code"] == "targets_not_found"
    assert "q_proj (2)" in plans["c_attn"]["error"]["message"]
