"""Named presets: saved from jobs, sweeps and given fields, and chosen in specs by name."""

from __future__ import annotations

from typing import Any

import pytest

from adamss_core.spec import JobSpec, all_presets
from adamss_core.spec.named_preset import with_preset
from service.shared.database.tables import SweepTrial
from tests.service.support import Service, error_of

FIELDS: dict[str, Any] = {"training.learning_rate": 0.008, "training.batch_size": 4, "adamss.r": 5}


def save(service: Service, name: str = "mine", **wanted: Any) -> Any:
    answer = service.client.post("/presets", json={"name": name, **(wanted or {"fields": FIELDS})})
    assert answer.status_code == 201, answer.text
    return answer.json()


def refused(service: Service, path: str, body: dict[str, Any]) -> tuple[int, str, str | None, str]:
    answer = service.client.post(path, json=body)
    error = error_of(answer.json())
    return answer.status_code, error["code"], error["param"], error["message"]


def test_a_spec_chooses_a_preset_by_name(service: Service) -> None:
    """What the spec sets itself stays; the plan says what was filled in, and the job keeps it."""
    save(service)
    spec = service.spec(preset="mine", training={"learning_rate": 0.02})
    plan = service.client.post("/jobs?dry_run=true", json=spec).json()
    taken = {path: value for path, value in FIELDS.items() if path.partition(".")[2] not in spec["training"]}
    taken = {path: value for path, value in taken.items() if path.partition(".")[2] not in spec.get("adamss", {})}
    assert plan["preset"] == {"name": "mine", "fields": taken}
    assert plan["spec"]["training"]["learning_rate"] == 0.02
    assert plan["spec"]["preset"] is None
    job = service.client.post("/jobs", json=spec).json()
    assert service.client.delete("/presets/mine").status_code == 204
    assert job["spec"]["preset"] == "mine"
    assert "preset" not in job["resolved"]["spec"] or job["resolved"]["spec"]["preset"] is None
    assert service.client.get(f"/jobs/{job['id']}").json()["resolved"]["preset"]["fields"] == taken
    again = refused(service, "/jobs?dry_run=true", spec)
    assert again[:3] == (422, "unknown_preset", "preset")


def test_an_unknown_name_lists_those_that_exist(service: Service) -> None:
    save(service, "slow")
    *_, message = refused(service, "/jobs?dry_run=true", service.spec(preset="fast"))
    assert message.startswith(
        "There is no preset fast. The project's own are slow; those of the kinds of jobs are text-"
    )
    assert service.client.get("/presets/fast").status_code == 404


def test_presets_of_kinds_are_chosen_by_name_too(service: Service) -> None:
    plan = service.client.post("/jobs?dry_run=true", json=service.spec(preset="text-classification")).json()
    assert plan["preset"]["name"] == "text-classification"
    wrong = refused(service, "/jobs?dry_run=true", service.spec(preset="text-generation"))
    assert wrong[:3] == (422, "preset_of_another_task", "preset")


def test_a_preset_of_a_job_has_what_its_spec_sets(service: Service) -> None:
    save(service, fields={"training.weight_decay": 0.1})
    spec = service.spec(preset="mine", training={"learning_rate": 0.02, "seed": 7})
    job = service.client.post("/jobs", json=spec).json()["id"]
    saved = save(service, "of-job", job=job)
    assert (saved["job"], saved["own"], saved["task"]) == (job, True, "text-classification")
    assert {"learning_rate": 0.02, "weight_decay": 0.1}.items() <= saved["training"].items()
    assert "seed" not in saved["training"]
    listed = service.client.get("/presets").json()["data"]
    assert [one["name"] for one in listed] == [*(kind.name for kind in all_presets()), "mine", "of-job"]
    assert service.client.get("/presets/of-job").json() == saved


def test_a_preset_of_a_sweep_has_its_best_trial(service: Service) -> None:
    space = {"training.learning_rate": {"values": [0.001, 0.002, 0.004]}}
    made = service.client.post("/sweeps", json={"spec": service.spec(), "space": space, "trials": 3}).json()
    body = {"name": "best", "sweep": made["id"]}
    assert refused(service, "/presets", body)[:3] == (422, "unknown_trial", "trial")
    best = made["trials"][1]
    with service.db.write() as session:
        row = session.get_one(SweepTrial, (made["id"], best["number"]))
        row.evaluations, row.stopped_after = {best["jobs"][0]: [0.9]}, 1
    saved = save(service, "best", sweep=made["id"])
    assert saved["job"] == best["jobs"][0]
    assert saved["training"]["learning_rate"] == best["params"]["training.learning_rate"]
    assert "metric_for_best" not in saved["training"]
    other = save(service, "best", sweep=made["id"], trial=3, replace=True)
    assert other["job"] == made["trials"][2]["jobs"][0]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"fields": {"training.rate": 1}}, 422, "unknown_field", "fields.training.rate"),
        ({"fields": {"adamss.r": -1}}, 422, "invalid_field", "fields.adamss.r"),
        ({"fields": {"training.seed": 1}}, 422, "fixed_field", "fields.training.seed"),
        ({"job": "job_missing"}, 422, "unknown_job", "job"),
        ({"sweep": "sweep_missing"}, 422, "unknown_sweep", "sweep"),
        ({}, 422, "invalid_field", "job"),
        ({"fields": FIELDS, "job": "job_a"}, 422, "invalid_field", "job"),
        ({"fields": FIELDS, "trial": 1}, 422, "invalid_field", "trial"),
        ({"fields": FIELDS, "name": "regression"}, 409, "preset_exists", "name"),
        ({"fields": FIELDS, "name": "taken"}, 409, "preset_exists", "name"),
        ({"fields": FIELDS, "name": "../x"}, 422, "invalid_field", "name"),
    ],
)
def test_bad_input(service: Service, body: dict[str, Any], status: int, code: str, param: str | None) -> None:
    save(service, "taken")
    found = refused(service, "/presets", {"name": "new", **body})
    assert found[:2] == (status, code), found
    assert param is None or found[2] == param


def test_presets_of_kinds_stay(service: Service) -> None:
    answer = service.client.delete("/presets/regression")
    assert (answer.status_code, error_of(answer.json())["code"]) == (409, "preset_is_fixed")
    assert service.client.delete("/presets/nothing").status_code == 404


@pytest.mark.parametrize(
    ("blocks", "fields", "filled"),
    [
        ({"training": {"batch_size": 8}}, {"training.gradient_accumulation_steps": 4}, {}),
        ({"training": {"epochs": 2}}, {"training.max_steps": 9, "training.seed": 1}, {"training.seed": 1}),
        ({"adamss": {"r": 8}}, {"adamss.budget": "lora:r=1"}, {}),
        ({"adamss": {"budget": "lora:r=1"}}, {"adamss.r": 8, "adamss.basis": "inputs"}, {"adamss.basis": "inputs"}),
    ],
)
def test_fields_give_way_to_those_that_decide_about_them(
    blocks: dict[str, Any], fields: dict[str, Any], filled: dict[str, Any]
) -> None:
    plain = {"name": "a", "base_model": "m", "dataset": {"train": "ds_00000000"}, "preset": "p", **blocks}
    spec, found = with_preset(JobSpec.model_validate(plain), fields)
    assert found == filled
    assert (spec.preset, spec.adamss.model_fields_set >= set(blocks.get("adamss", {}))) == (None, True)
