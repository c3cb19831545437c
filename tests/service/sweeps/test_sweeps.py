"""Sweeps: chosen trials, refusals, and what acts on the whole."""

from __future__ import annotations

from typing import Any

import pytest

from service.shared.database.tables import Job, JobStatus, SweepTrial
from service.shared.errors import InvalidRequest
from service.sweeps.space import with_params
from tests.service.support import Service, error_of

RATES = {"training.learning_rate": {"min": 1e-3, "max": 2e-2, "log": True}}
Answer = dict[str, Any]


def sweep(service: Service, **fields: Any) -> Answer:
    body = {"spec": service.spec(), "space": RATES, "trials": 4, **fields}
    answer = service.client.post("/sweeps", json=body)
    assert answer.status_code == 201, answer.text
    made: Answer = answer.json()
    return made


def refused(service: Service, **fields: Any) -> tuple[str, str | None]:
    body = {"spec": service.spec(), "space": RATES, "trials": 4, **fields}
    answer = service.client.post("/sweeps", json=body)
    assert answer.status_code == 422, answer.text
    error = error_of(answer.json())
    assert service.client.get("/sweeps").json()["data"] == []
    return error["code"], error["param"]


def test_trials_are_jobs_that_wait_for_their_turn(service: Service) -> None:
    made = sweep(service)
    assert (made["status"], made["objective"], made["direction"]) == ("running", "accuracy", "max")
    assert made["counts"] == {"waiting": 4}
    rates = [trial["params"]["training.learning_rate"] for trial in made["trials"]]
    assert len(set(rates)) == 4
    assert all(1e-3 <= rate <= 2e-2 for rate in rates)
    (job_id,) = made["trials"][0]["jobs"]
    job = service.client.get(f"/jobs/{job_id}").json()
    assert (job["sweep"], job["trial"], job["status"]) == (made["id"], 1, "paused")
    assert job["spec"]["training"]["learning_rate"] == rates[0]
    assert job["spec"]["priority"] == -10
    events = service.client.get(f"/jobs/{job_id}/events").json()["data"]
    assert events[-1]["message"] == "The job was paused before it ran."
    assert service.client.get("/jobs").json()["data"] == []
    assert len(service.client.get("/jobs", params={"sweep": made["id"]}).json()["data"]) == 4
    assert service.client.get("/sweeps").json()["data"][0]["id"] == made["id"]


def test_the_same_request_chooses_the_same_values(service: Service) -> None:
    spec = service.spec()
    first, again, other = (sweep(service, spec=spec, sampler_seed=seed)["trials"] for seed in (0, 0, 1))
    assert [trial["params"] for trial in first] == [trial["params"] for trial in again]
    assert [trial["params"] for trial in first] != [trial["params"] for trial in other]


def test_idempotency_key(service: Service) -> None:
    body = {"spec": service.spec(), "space": RATES, "trials": 2}
    answers = [service.client.post("/sweeps", json=body, headers={"idempotency-key": "a"}) for _ in "ab"]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    reused = service.client.post("/sweeps", json={**body, "trials": 3}, headers={"idempotency-key": "a"})
    assert error_of(reused.json())["code"] == "idempotency_key_reused"


def test_conditions_and_seeds(service: Service) -> None:
    space = {
        "training.lr_scheduler": {"values": ["linear", "constant"]},
        "training.warmup_ratio": {"min": 0.0, "max": 0.5, "when": {"training.lr_scheduler": ["linear"]}},
    }
    made = sweep(service, space=space, seeds=[1, 2], trials=6)
    for trial in made["trials"]:
        linear = trial["params"]["training.lr_scheduler"] == "linear"
        assert ("training.warmup_ratio" in trial["params"]) == linear
        seeds = [
            service.client.get(f"/jobs/{job}").json()["resolved"]["spec"]["training"]["seed"] for job in trial["jobs"]
        ]
        assert seeds == [1, 2]


def test_refused_trials_are_shown_and_not_run(service: Service) -> None:
    """The rows have no column of this name."""
    fields: Answer = {"space": {"dataset.text": {"values": ["text", "title"]}}, "trials": 2}
    body = {"spec": service.spec(), **fields}
    plan = service.client.post("/sweeps?dry_run=true", json=body).json()
    assert (plan["trials"], plan["refused"], plan["jobs"]) == (1, 1, 1)
    assert service.client.get("/sweeps").json()["data"] == []
    made = sweep(service, **fields)
    assert made["counts"] == {"waiting": 1, "refused": 1}
    (trial,) = (trial for trial in made["trials"] if trial["state"] == "refused")
    assert (trial["params"], trial["jobs"]) == ({"dataset.text": "title"}, [])
    assert trial["refusal"]["param"] == "dataset.text"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"space": {"training.rate": {"values": [1]}}}, "unknown_field", "space.training.rate"),
        ({"space": {"training.learning_rate.x": {"values": [1]}}}, "unknown_field", "space.training.learning_rate.x"),
        ({"space": {"name": {"values": ["a", "b"]}}}, "fixed_field", "space.name"),
        ({"space": {"training.seed": {"values": [1, 2]}}, "seeds": [1]}, "fixed_field", "space.training.seed"),
        ({"objective": "pearson"}, "unknown_objective", "objective"),
        ({"space": {"adamss.r": {"values": [8, 16]}}}, "space_too_small", "trials"),
        ({"space": {"adamss.r": {"min": -9, "max": 0}}}, "all_trials_refused", "space"),
        ({"space": {"adamss.r": {"min": 8}}}, "invalid_value", None),
        (
            {"space": {"adamss.r": {"values": [8, 9], "when": {"adamss.x": [1]}}}},
            "unknown_field",
            "space.adamss.r.when",
        ),
    ],
)
def test_bad_input(service: Service, fields: Answer, code: str, param: str | None) -> None:
    found = refused(service, **fields)
    assert found == (code, param) if param else found[1] is not None


def test_a_part_of_what_the_spec_has_in_short() -> None:
    assert with_params({"init_from": "job_a"}, {"init_from.checkpoint": 3}) == {
        "init_from": {"job": "job_a", "checkpoint": 3}
    }
    with pytest.raises(InvalidRequest, match="adamss is 5 in the spec"):
        with_params({"adamss": 5}, {"adamss.r": 8})


def test_ready_spaces(service: Service) -> None:
    quick, thorough = (sweep(service, space=name)["request"]["space"] for name in ("quick", "thorough"))
    assert set(quick) == {"training.learning_rate", "training.head_learning_rate"}
    assert set(thorough) - set(quick) == {"training.lr_scheduler", "adamss.budget"}


def test_pause_resume_and_cancel_act_on_the_whole(service: Service) -> None:
    made = sweep(service)
    path = f"/sweeps/{made['id']}"
    assert service.client.post(f"{path}/resume").status_code == 409
    for verb in ("pause", "resume"):
        alone = service.client.post(f"/jobs/{made['trials'][0]['jobs'][0]}/{verb}")
        assert (alone.status_code, error_of(alone.json())["code"]) == (409, "job_of_sweep")
    assert service.client.post(f"{path}/pause").json()["status"] == "paused"
    assert service.client.post(f"{path}/resume").json()["status"] == "running"
    assert service.client.delete(path).status_code == 409
    ended = service.client.post(f"{path}/cancel").json()
    assert (ended["status"], ended["counts"]) == ("cancelled", {"cancelled": 4})
    with service.db.read() as session:
        jobs = [session.get_one(Job, trial["jobs"][0]) for trial in made["trials"]]
        assert {job.status for job in jobs} == {JobStatus.CANCELLED}
    assert service.client.post(f"{path}/cancel").status_code == 409
    assert service.client.delete(path).status_code == 204
    assert len(service.client.get("/jobs").json()["data"]) == 4


def test_importance_of_fields(service: Service) -> None:
    """The rate decides about these numbers, the length does not."""
    space = {**RATES, "training.max_length": {"values": [16, 32]}}
    made = sweep(service, space=space, trials=8)
    path = f"/sweeps/{made['id']}/importance"
    assert service.client.get(path).json() == {"importance": None, "trials": 0}
    with service.db.write() as session:
        for trial in made["trials"]:
            row = session.get_one(SweepTrial, (made["id"], trial["number"]))
            row.evaluations = {trial["jobs"][0]: [trial["params"]["training.learning_rate"]]}
            row.stopped_after = 1
    found = service.client.get(path).json()
    assert (found["trials"], next(iter(found["importance"]))) == (8, "training.learning_rate")
    assert sum(found["importance"].values()) == pytest.approx(1.0, abs=1e-3)


def test_a_dry_run_warns_where_no_trial_can_stop_early(service: Service) -> None:
    plans = []
    for epochs in (1, 3):
        body = {"spec": service.spec(training={"epochs": epochs}), "space": RATES, "trials": 2}
        plans.append(service.client.post("/sweeps?dry_run=true", json=body).json()["warnings"])
    assert [len(warnings) for warnings in plans] == [1, 0]
    assert "makes 1 evaluations" in plans[0][0]
