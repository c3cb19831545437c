"""Row 43: a sweep whose worker and API are killed ends with the same table as one that was left alone."""

from __future__ import annotations

from typing import Any

import pytest

from service.shared.database.tables import JobStatus
from tests.faults.topology import Topology

TRIALS = 12
RATES = {"training.learning_rate": {"min": 1e-4, "max": 0.2, "log": True}}


def begin(topology: Topology) -> str:
    spec = topology.spec(20, 0.02, training={"eval_steps": 4, "checkpoint_steps": 4})
    body = {"spec": spec, "space": RATES, "trials": TRIALS, "parallel": 2, "keep": 1}
    answer = topology.http.post("/sweeps", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def show(topology: Topology, sweep: str) -> dict[str, Any]:
    answer: dict[str, Any] = topology.http.get(f"/sweeps/{sweep}").raise_for_status().json()
    return answer


def ended(topology: Topology, sweep: str, trials: int) -> None:
    """Wait until so many trials have ended."""
    topology.until(lambda: sum(trial["ended_at"] is not None for trial in show(topology, sweep)["trials"]) >= trials)


def table(topology: Topology, sweep: str) -> list[tuple[Any, ...]]:
    topology.until(lambda: show(topology, sweep)["status"] == "succeeded")
    trials = show(topology, sweep)["trials"]
    for trial in trials:
        (job_id,) = trial["jobs"]
        assert topology.job(job_id).status == JobStatus.SUCCEEDED
        assert topology.event_types(job_id).count("succeeded") == 1
    names = ("number", "params", "state", "value")
    return [(*(trial[name] for name in names), trial["evaluations"][: trial["stopped_after"]]) for trial in trials]


@pytest.mark.core_in_full
def test_row_43_a_sweep_killed_twice_ends_with_the_same_table(topology: Topology) -> None:
    api = topology.api()
    worker = topology.start_worker(ADAMSS_WORKER_CONCURRENCY="2")
    undisturbed = begin(topology)
    expected = table(topology, undisturbed)
    assert {row[2] for row in expected} == {"complete", "stopped"}

    sweep = begin(topology)
    ended(topology, sweep, 2)
    worker.kill()
    topology.start_worker(ADAMSS_WORKER_CONCURRENCY="2")
    ended(topology, sweep, 6)
    api.kill()
    topology.api()
    assert table(topology, sweep) == expected
    assert len(topology.http.get("/jobs", params={"sweep": sweep, "limit": 100}).json()["data"]) == TRIALS
    best = show(topology, sweep)["best"]
    assert best["value"] == max(row[3] for row in expected if row[2] == "complete")
    for trial in show(topology, sweep)["trials"]:
        (job_id,) = trial["jobs"]
        if trial["number"] == best["number"]:
            topology.check_artifacts(job_id)
        else:
            assert {artifact.name for artifact in topology.artifacts(job_id)} <= {"metrics"}
