"""`compare` in a dry run and in a job: what is refused, what it costs, and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from service.shared.database.tables import Job, JobStatus
from service.shared.jobs import states
from tests.service.support import Service, error_of, run_job

MEASURED: dict[str, Any] = {
    "rows": 20,
    "metrics": {"loss": 0.4, "accuracy": 0.75},
    "low": 0.53,
    "high": 0.89,
    "method": "Wilson",
    "difference": None,
    "difference_low": None,
    "difference_high": None,
    "difference_method": None,
}
OWN: dict[str, Any] = {
    "contender": "adamss",
    "status": "trained",
    "adapter_parameters": 2_000,
    "head_parameters": 66,
    "learning_rate": 0.01,
    "head_learning_rate": 0.001,
    "step": 20,
    "steps": 20,
    "seconds": 3.5,
    "held_out": MEASURED,
    "test": None,
    "error": None,
    "gain_per_thousand": 0.05,
}
LORA = OWN | {
    "contender": "lora:r=1",
    "adapter_parameters": 256,
    "learning_rate": 0.004,
    "held_out": MEASURED
    | {"metrics": {"loss": 0.5, "accuracy": 0.7}, "difference": -0.05}
    | {"difference_low": -0.2, "difference_high": 0.1, "difference_method": "paired bootstrap"},
    "gain_per_thousand": 0.2,
}
FAILED = (
    OWN
    | dict.fromkeys(("adapter_parameters", "head_parameters", "learning_rate", "held_out", "seconds"))
    | {
        "contender": "head",
        "status": "failed",
        "error": {"code": "out_of_memory", "message": "Memory ran out.", "hint": None},
        "gain_per_thousand": None,
    }
)
COMPARISON: dict[str, Any] = {
    "metric": "accuracy",
    "direction": "max",
    "level": 0.95,
    "planned": ["lora:r=1", "head"],
    "gain_over": 'always "good"',
    "contenders": [OWN, LORA, FAILED],
}
RUNNING = {"contender": "head", "place": 2, "step": 3, "steps": 20, "eta_seconds": 1.5}


def planned(service: Service, compare: Any, **fields: Any) -> Any:
    return service.client.post("/jobs?dry_run=true", json=service.spec(compare=compare, **fields))


def test_the_dry_run_says_what_each_contender_costs(service: Service) -> None:
    estimate = planned(service, ["head", "lora:r=1", "lora:r=2@0.5"]).json()["estimate"]
    head, one, two = estimate["comparison"]
    assert [entry["steps"] for entry in (head, one, two)] == [estimate["steps"]] * 3
    assert [entry["head_parameters"] for entry in (head, one, two)] == [estimate["head_parameters"]] * 3
    assert (head["adapter_parameters"], head["learning_rate"]) == (0, None)
    assert two["adapter_parameters"] == 2 * one["adapter_parameters"] > 0
    assert (one["learning_rate"], two["learning_rate"]) == (0.004, 0.5)
    alone = planned(service, []).json()["estimate"]
    assert (alone["comparison"], alone["memory_bytes"]) == ([], estimate["memory_bytes"])


def test_a_large_lora_may_need_more_memory_than_the_job(service: Service) -> None:
    alone, large = (
        planned(service, compare, adamss={"num_subspaces": 1, "r": 1}).json()["estimate"]
        for compare in ([], ["lora:r=32"])
    )
    assert large["comparison"][0]["adapter_parameters"] > large["adapter_parameters"]
    assert large["memory_bytes"] >= alone["memory_bytes"]


def test_seconds_include_the_contenders(service: Service) -> None:
    spec = service.spec()
    job_id = service.client.post("/jobs", json=spec).json()["id"]
    run_job(service, job_id)
    result = {"training_seconds": 8.0, "seconds": 10.0, "train_rows": 40, "train_tokens": 200, "epochs": 2.0}
    with service.db.write() as session:
        assert states.succeed(session, job_id, 1, result | {"device": "cpu"})
    training, rest = 0.1 * 36 * 3, 2.0
    assert planned(service, []).json()["estimate"]["seconds"] == pytest.approx(training + rest)
    found = planned(service, ["head", "lora:r=1"]).json()["estimate"]["seconds"]
    assert found == pytest.approx(2.5 * training + 2 * rest, abs=0.1)


@pytest.mark.parametrize(
    ("compare", "param", "code", "said"),
    [
        (["full"], "compare[0]", "invalid_field", 'Use "head", "lora:r=1"'),
        (["lora:r=1", "lora:r=1"], "compare", "invalid_field", "name each once"),
        (["head", "lora:r=33"], "compare[1]", "rank_too_large", "Use a rank of at most 32"),
    ],
)
def test_what_cannot_be_compared_names_the_field_and_the_remedy(
    service: Service, compare: list[str], param: str, code: str, said: str
) -> None:
    answer = planned(service, compare)
    error = error_of(answer.json())
    assert (answer.status_code, error["param"], error["code"]) == (422, param, code)
    assert said in error["message"]


def test_a_head_is_refused_also_where_the_data_decide_the_task(service: Service) -> None:
    rows = "".join(f'{{"prompt": "a {i}", "completion": "b {i}"}}\n' for i in range(20))
    answer = service.client.post("/datasets", files={"file": ("rows.jsonl", rows)})
    spec = service.spec(compare=["head"]) | {"dataset": {"train": answer.json()["id"]}}
    spec.pop("task", None)
    error = error_of(service.client.post("/jobs?dry_run=true", json=spec).json())
    assert (error["param"], error["code"]) == ("compare", "no_head")
    assert "text-generation trains no head" in error["message"]


def test_a_job_shows_the_comparison_and_the_contender_under_way(service: Service) -> None:
    job = service.submit(compare=["lora:r=1", "head"])["id"]
    shown = service.client.get(f"/jobs/{job}").json()
    assert (shown["comparison"], shown["progress"]["contender"]) == (None, None)
    run_job(service, job)
    result = {"eval_accuracy": 0.75, "comparison": COMPARISON | {"contenders": [OWN, LORA], "running": RUNNING}}
    with service.db.write() as session:
        session.get_one(Job, job).result = result
    shown = service.client.get(f"/jobs/{job}").json()
    assert shown["status"] == JobStatus.RUNNING
    assert shown["progress"]["contender"] == RUNNING
    assert shown["comparison"] == COMPARISON | {"contenders": [OWN, LORA]}
    assert service.client.get("/jobs").json()["data"][0]["progress"]["contender"] == RUNNING
    with service.db.write() as session:
        assert states.fail(session, job, 1, {"code": "worker_lost", "message": "Lost.", "hint": None})
    shown = service.client.get(f"/jobs/{job}").json()
    assert (shown["status"], shown["progress"]["contender"]) == (JobStatus.FAILED, None)
    assert shown["result"] == result  # its own numbers were complete
