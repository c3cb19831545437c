"""Specs of the right shape that cannot work are refused, with the field and a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from service.base_models import repository as base_models
from service.base_models.service import folder_version
from service.jobs import planning
from service.jobs.examples import DATASET, JOB_EXAMPLES
from tests.service.support import MODEL, Service, error_of, jsonl, rows

ASA = {
    "use_asa": True,
    "asa_target_subspaces": 10,
    "init_warmup": "auto",
    "final_warmup": "auto",
    "mask_interval": "auto",
}


@pytest.mark.parametrize(
    ("changes", "code", "param", "says"),
    [
        ({"dataset": {"train": "ds_nothere22"}}, "unknown_dataset", "dataset.train", "GET /datasets"),
        ({"dataset": {"eval": "ds_nothere22"}}, "unknown_dataset", "dataset.eval", "GET /datasets"),
        ({"dataset": {"text": "body"}}, "unknown_column", "dataset.text", "'text', 'label'"),
        ({"dataset": {"label": "stars"}}, "unknown_column", "dataset.label", "'text', 'label'"),
        ({"dataset": {"text_pair": "b"}}, "unknown_column", "dataset.text_pair", "'text', 'label'"),
        ({"dataset": {"label": "text"}}, "no_classes", "dataset.label", "classes"),
        ({"base_model": "huge"}, "unknown_model", "base_model", f"'{MODEL}'"),
        ({"revision": "main"}, "invalid_field", "revision", "folder"),
        ({"adamss": {"target_modules": ["qury"]}}, "targets_not_found", "adamss.target_modules", "query"),
        ({"adamss": {"target_modules": "q(uery"}}, "invalid_pattern", "adamss.target_modules", "regular expression"),
        ({"adamss": {"target_modules": ["query"], "layers_to_transform": [7]}}, "targets_not_found", None, "layers"),
        ({"adamss": {"modules_to_save": ["poolr"]}}, "unknown_module", "adamss.modules_to_save[0]", "pooler"),
        ({"adamss": {**ASA, "final_warmup": 1000}}, "schedule_unreachable", "adamss.final_warmup", "at most 6"),
        ({"adamss": ASA, "training": {"max_steps": 1}}, "schedule_unreachable", "adamss.use_asa", "max_steps"),
    ],
)
def test_what_cannot_work_is_refused(service: Service, changes: Any, code: str, param: str | None, says: str) -> None:
    if "dataset" in changes and "train" not in changes["dataset"]:
        changes = {**changes, "dataset": {"train": service.upload(rows())["id"], **changes["dataset"]}}
    error = service.refused(**changes)
    assert error["code"] == code
    assert error["param"] == param or param is None
    assert says in error["message"]


def uploaded(service: Service, text: str, **columns: str) -> dict[str, Any]:
    return {"dataset": {"train": service.upload(text, "rows.jsonl")["id"], **columns}}


def test_data_without_enough_to_learn_is_refused(service: Service) -> None:
    one = jsonl(*({"text": "a", "label": "x"} for _ in range(9)))
    assert service.refused(**uploaded(service, one))["code"] == "one_class"
    few = jsonl({"text": "a", "label": 0}, {"text": "b", "label": 1}, {"text": "c", "label": 1})
    assert service.refused(**uploaded(service, few))["code"] == "too_few_rows"
    none = jsonl(*({"text": "", "label": n} for n in (0, 1, 1, 0)))
    assert service.refused(**uploaded(service, none))["code"] == "no_usable_rows"
    many = jsonl(*({"text": "a", "label": f"class {n}"} for n in range(1_001)))
    assert service.refused(**uploaded(service, many))["code"] == "too_many_classes"


def test_rows_are_counted_as_the_run_counts_them(service: Service) -> None:
    from collections import Counter

    from adamss_core.spec import JobSpec, reader_of
    from adamss_core.training.data import read_rows
    from adamss_core.training.selection import select

    text = jsonl(
        *({"text": f"t {n}", "label": n % 3} for n in range(50)),
        {"text": " ", "label": 1},
        {"text": "x", "label": None},
        {"text": "x", "label": 1.0},
        {"text": "x", "label": " 2 "},
    )
    spec = service.spec(**uploaded(service, text))
    plan = service.client.post("/jobs?dry_run=true", json=spec).json()
    assert any("2 training rows are left out" in warning for warning in plan["warnings"])
    path = service.settings.files.dataset_rows(spec["dataset"]["train"])
    found = read_rows(path, reader_of(JobSpec.model_validate(spec)))
    parsed = JobSpec.model_validate(spec)
    chosen = select(parsed.dataset, 0, found.numbers, [found.size], found["label"], None)
    counted = (plan["estimate"]["train_rows"], plan["estimate"]["eval_rows"])
    assert counted == (len(chosen.train), len(chosen.evaluation))
    assert len(Counter(found.take(chosen.train)["label"])) == 3
    head = 32 * 3 + 3
    assert plan["estimate"]["head_parameters"] == head


def test_a_plan_has_a_price_where_the_operator_sets_one(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "expected_seconds", lambda *_: 1800.0)
    spec = service.spec()
    for rate, cost, currency in ((None, None, None), (2.0, 1.0, "USD")):
        monkeypatch.setattr(service.settings, "device_hour_rate", rate)
        plan = service.client.post("/jobs?dry_run=true", json=spec).json()
        assert (plan["cost"], plan["currency"]) == (cost, currency)


def test_evaluation_data_of_their_own(service: Service) -> None:
    train = service.upload(rows(20))["id"]
    other = service.upload("text,label\n" + "a,other\n" * 5)["id"]
    mixed = service.upload("text,label\n" + "a,label0\na,other\n" * 5)["id"]
    assert service.refused(dataset={"train": train, "eval": other})["code"] == "labels_differ"
    spec = service.spec(dataset={"train": train, "eval": mixed})
    plan = service.client.post("/jobs?dry_run=true", json=spec).json()
    assert (plan["estimate"]["train_rows"], plan["estimate"]["eval_rows"]) == (20, 5)
    assert any("5 evaluation rows are left out" in warning for warning in plan["warnings"])


def test_a_slow_pattern_is_cut_off(service: Service) -> None:
    evil = r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)\8\7[qu]{3}"
    assert service.refused(adamss={"target_modules": evil})["code"] == "pattern_too_slow"


@pytest.mark.parametrize("name", JOB_EXAMPLES)
def test_the_examples_of_the_docs_work(service: Service, tiny_facts: dict[str, Any], name: str) -> None:
    value = dict(JOB_EXAMPLES[name]["value"])
    value["dataset"] = {**value["dataset"], "train": service.upload(rows())["id"]}
    assert JOB_EXAMPLES[name]["value"]["dataset"]["train"] == DATASET
    folder = service.settings.files.model("minilm")
    (service.settings.files.model(MODEL)).rename(folder)
    with service.db.write() as session:
        base_models.keep(session, "minilm", folder_version(folder), tiny_facts)
    if "adamss" in value:
        value["adamss"] = {**value["adamss"], "asa_target_subspaces": 20}  # the tiny model has fewer
    response = service.client.post("/jobs", json=value)
    assert response.status_code == 201, response.text


def test_a_pasted_adapter_config_is_taken(service: Service) -> None:
    import json

    from peft import AdamssConfig

    config = AdamssConfig(target_modules=["query"], base_model_name_or_path=MODEL, task_type="SEQ_CLS")
    pasted = json.loads(json.dumps(config.to_dict(), default=sorted))
    spec = {"name": "pasted", "dataset": {"train": service.upload(rows())["id"]}, "adamss": pasted}
    response = service.client.post("/jobs?dry_run=true", json=spec)
    assert response.status_code == 200, response.text
    assert response.json()["spec"]["base_model"] == MODEL
    assert response.json()["estimate"]["modules"] == 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"layers_pattern": "layer"}, "layers_pattern has no effect without layers_to_transform"),
        ({**ASA, "asa_target_subspaces": 99}, "have 20 subspaces: nothing will be pruned"),
        ({**ASA, "asa_uncertainty_beta": 1.0}, "pruning keeps the first ones"),
        ({"svd_threshold": 2.0}, "svd_threshold has no effect"),
        ({"mask_interval": 0}, "no effect while use_asa is false"),
    ],
)
def test_what_peft_takes_is_taken_with_a_warning(service: Service, fields: dict[str, Any], says: str) -> None:
    spec = service.spec(adamss=fields)
    response = service.client.post("/jobs?dry_run=true", json=spec)
    assert response.status_code == 200, response.text
    assert any(says in warning for warning in response.json()["warnings"])


@pytest.mark.parametrize(
    ("changes", "param", "says"),
    [
        ({"adamss": {"init_warmup": "soon"}}, "adamss.init_warmup", "must be an integer, or 'auto'"),
        ({"adamss": {"use_asa": True, "init_warmup": 9, "final_warmup": 3}}, "adamss.final_warmup", "larger than"),
        ({"adamss": {"use_asa": True, "mask_interval": 0}}, "adamss.mask_interval", "at least 1"),
        ({"adamss": {"use_asa": True, "asa_target_subspaces": 0}}, "adamss.asa_target_subspaces", "at least 1"),
        ({"adamss": {"asa_importance_beta": 1.5}}, "adamss.asa_importance_beta", "at most 1"),
        ({"adamss": {"target_modules": []}}, "adamss.target_modules", "at least one module"),
        ({"adamss": {"target_modules": ["query", 3]}}, "adamss.target_modules[1]", "must be a string"),
        ({"adamss": {"rank": 3}}, "adamss.rank", "not a known field"),
        ({"training": {"batchsize": 3}}, "training.batchsize", "batch_size"),
        ({"training": {"epochs": -1}}, "training.epochs", "greater than 0"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate", "must be a number"),
        ({"training": "long"}, "training", "must be an object"),
        ({"artifacts": ["adapter", "onnx"]}, "artifacts[1]", "'adapter', 'lora' or 'merged'"),
        ({"artifacts": ["lora", "lora"]}, "artifacts", "twice"),
        ({"base_model": "/etc/passwd"}, "base_model", "never a path"),
        ({"base_model": "http://example.org/model"}, "base_model", "never a path"),
        ({"base_model": "../models/tiny"}, "base_model", "never a path"),
        ({"name": None}, "name", "must be a string"),
        ({"name": "two\nlines"}, "name", "one line"),
        ({"color": "red"}, "color", "not a known field"),
        ({"training": {"epochs": 1e9}}, "training.epochs", "at most"),
    ],
)
def test_wrong_fields_are_named(service: Service, changes: Any, param: str, says: str) -> None:
    spec = service.spec()
    for name, value in changes.items():
        merged = isinstance(value, dict) and isinstance(spec.get(name, {}), dict)
        spec[name] = {**spec.get(name, {}), **value} if merged else value
    response = service.client.post("/jobs", json=spec)
    assert response.status_code == 422
    error = error_of(response.json())
    assert error["param"] == param
    assert says in error["message"]
    assert error["message"].startswith(param)


def test_a_missing_field_is_named(service: Service) -> None:
    response = service.client.post("/jobs", json={"name": "x", "base_model": MODEL, "dataset": {}})
    error = error_of(response.json())
    assert (error["code"], error["param"]) == ("field_missing", "dataset.train")
    assert error["message"] == "dataset.train is required."


def test_more_steps_than_a_job_can_have(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a thousand passes over millions of rows; PostgreSQL had no room for the number."""
    monkeypatch.setattr("adamss_core.spec.plan.MAX_STEPS", 50)
    refused = service.refused(training={"epochs": 1000, "batch_size": 1})
    assert (refused["code"], refused["param"]) == ("too_many_steps", "training.epochs")
    assert "at most 50 are possible" in refused["message"]


def test_problems_of_all_parts_come_at_once(service: Service) -> None:
    """One of each part, and each of the columns; the first one is where it always was."""
    spec: dict[str, Any] = {
        "init_from": "job_nothere1234",
        "dataset": {"train": service.upload(rows())["id"], "eval": "ds_nothere22", "text": "body", "label": "stars"},
        "adamss": {"target_modules": ["qury"]},
    }
    error = service.refused(**spec)
    assert (error["code"], error["param"]) == ("unknown_job", "init_from")
    further = [(problem["param"], problem["code"]) for problem in error["also"]]
    assert further == [
        ("dataset.text", "unknown_column"),
        ("dataset.label", "unknown_column"),
        ("dataset.eval", "unknown_dataset"),
        ("adamss.target_modules", "targets_not_found"),
    ]
    assert all(problem["message"].endswith(".") for problem in error["also"])
    dry = service.client.post("/jobs?dry_run=true", json=service.spec(**spec)).json()
    assert dry["error"] == error


def test_fields_of_the_wrong_shape_come_at_once(service: Service) -> None:
    error = service.refused(adamss={"r": 0, "colour": 1}, training={"epochs": "many"})
    named = [error["param"], *(problem["param"] for problem in error["also"])]
    assert named == ["adamss.r", "adamss.colour", "training.epochs"]


def test_the_first_problem_wins(service: Service) -> None:
    """In the order of the rules: ancestor, training data, evaluation data, model."""
    spec: dict[str, Any] = {
        "init_from": "job_nothere1234",
        "base_model": "huge",
        "dataset": {"train": service.upload(rows())["id"], "eval": "ds_nothere22", "label": "stars"},
    }
    assert service.refused(**spec)["code"] == "unknown_job"
    del spec["init_from"]
    assert service.refused(**spec)["param"] == "dataset.label"
    del spec["dataset"]["label"]
    assert (service.refused(**spec)["code"], service.refused(**spec)["param"]) == ("unknown_dataset", "dataset.eval")
    del spec["dataset"]["eval"]
    assert service.refused(**spec)["code"] == "unknown_model"
