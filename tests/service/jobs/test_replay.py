"""What another target would have kept, by recorded scores."""

from __future__ import annotations

from typing import Any

import pytest

from service.shared.database.tables import Job, SubspaceMap
from tests.service.support import ATTENTION, Service, error_of, report_map

SCHEDULE = {"use_asa": True, "asa_target_subspaces": 4, "init_warmup": 1, "final_warmup": 3, "mask_interval": 1}
FIRST = [0.9, 0.5, 0.7, 0.7, 0.2, 0.8]  # scores at step 2, of two modules with three subspaces each
SECOND = [0.1, 0.5, 0.6, 0.3, 0.2, 0.4]  # at step 3; the run has pruned the fifth, whose score stays


def record(service: Service, job_id: str, step: int, scores: list[float], pruned: dict[int, int]) -> None:
    modules: dict[str, list[dict[str, Any]]] = {}
    for place, score in enumerate(scores):
        entry: dict[str, Any] = {"index": place % 3, "rows": 8, "rank": 1, "importance": score}
        entry |= {"active": place not in pruned, "pruned_at": pruned.get(place)}
        modules.setdefault(ATTENTION[place // 3], []).append(entry)
    summary = {"total": 6, "active": 6 - len(pruned), "target": 4, "modules": modules, "schedule": []}
    with service.db.write() as session:
        job = session.get_one(Job, job_id)
        job.last_seq += 1
        session.add(SubspaceMap(job_id=job_id, step=step, attempt=1, seq=job.last_seq, summary=summary))


@pytest.fixture
def job_id(any_service: Service) -> str:
    """A run that had a target of four: at step 2 the schedule keeps 4 + 2 * 0.5 ** 3, at step 3 four."""
    job_id: str = any_service.submit(adamss=SCHEDULE, training={"epochs": 5})["id"]
    record(any_service, job_id, 0, [0.0] * 6, {})
    record(any_service, job_id, 1, FIRST, {})
    record(any_service, job_id, 2, FIRST, {4: 2, 1: 2})
    record(any_service, job_id, 3, [SECOND[0], 0.5, *SECOND[2:4], 0.2, SECOND[5]], {4: 2, 1: 2})
    return job_id


def kept(answer: dict[str, Any]) -> list[int]:
    flat = [subspace for group in answer["modules"].values() for subspace in group]
    return [place for place, subspace in enumerate(flat) if subspace["active"]]


def replayed(service: Service, job_id: str, target: int) -> dict[str, Any]:
    answer = service.client.get(f"/jobs/{job_id}/subspaces/replay", params={"target": target})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["object"] == "replay"
    return found


def test_the_runs_own_target_gives_the_runs_own_masks(any_service: Service, job_id: str) -> None:
    answer = replayed(any_service, job_id, 4)
    recorded = any_service.client.get(f"/jobs/{job_id}/subspaces").json()
    assert answer["modules"] == recorded["modules"]
    assert answer["exact"] is True
    assert [(step["wanted"], step["kept"], step["recorded"]) for step in answer["steps"]] == [
        (6, 6, 6),
        (4, 4, 4),
        (4, 4, 4),
    ]


def test_a_smaller_target_keeps_the_best_of_what_is_left(any_service: Service, job_id: str) -> None:
    # Step 2 keeps int(2 + 4 / 8) = 2 of FIRST: 0.9 and 0.8; step 3 leaves them.
    answer = replayed(any_service, job_id, 2)
    assert (answer["active"], kept(answer), answer["exact"]) == (2, [0, 5], True)
    # Of two equal scores the earlier subspace stays: int(3 + 3 / 8) = 3.
    assert kept(replayed(any_service, job_id, 3)) == [0, 2, 5]


def test_a_larger_target_says_that_scores_are_missing(any_service: Service, job_id: str) -> None:
    # Step 2 keeps int(5 + 1 / 8) = 5. The second is active beyond the step at which the run pruned it.
    answer = replayed(any_service, job_id, 5)
    assert (kept(answer), answer["exact"]) == ([0, 1, 2, 3, 5], False)


def test_what_cannot_be_replayed(any_service: Service, job_id: str) -> None:
    path = f"/jobs/{job_id}/subspaces/replay"
    answer = any_service.client.get(path, params={"target": 7})
    assert (answer.status_code, error_of(answer.json())["param"]) == (422, "target")
    without = any_service.submit()["id"]
    report_map(any_service, without, 0, 4)
    answer = any_service.client.get(f"/jobs/{without}/subspaces/replay", params={"target": 2})
    assert (answer.status_code, error_of(answer.json())["code"]) == (422, "no_importances")
