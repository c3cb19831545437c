"""Rows 17 to 22: crashes, memory, numbers that are none, damaged checkpoints, and going on bit by bit the same."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import zipfile
from functools import partial
from typing import Any

import pytest

from service.shared.database.tables import JobStatus
from tests.faults.topology import PATIENCE, Topology


def test_row_17_job_that_always_crashes(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(1_000, retries=1)
    topology.start_worker()
    for attempt in (1, 2):
        topology.wait_attempt(job_id, attempt)
        topology.until(partial(got_far, topology, job_id, attempt))
        os.kill(topology.pid_of_training(job_id), signal.SIGSEGV)
    job = topology.wait(job_id)
    assert (job.status, job.attempt, job.failures) == (JobStatus.FAILED, 2, 2)
    assert job.error is not None
    assert job.error["code"] == "process_crashed"
    assert "segmentation fault" in job.error["message"]
    assert job.error["hint"]
    topology.check_succeeded(topology.submit(3), steps=3)  # the queue flows on


def got_far(topology: Topology, job_id: str, attempt: int) -> bool:
    """So far that no two attempts crash at the same step."""
    return topology.last_step(job_id, attempt) >= 30 * attempt


def test_row_17_same_crash_at_the_same_step_is_not_retried(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(40, retries=10)
    topology.start_worker(FAILPOINT="mid_step:segv:5")
    job = topology.wait(job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 2)
    assert job.error is not None
    assert "after step 5 twice" in job.error["message"]


@pytest.mark.core
@pytest.mark.parametrize("at", [1, 15])
def test_row_18_device_out_of_memory(topology: Topology, at: int) -> None:
    topology.leave_out_dropout()
    topology.api()
    clean = topology.submit(20)
    worker = topology.start_worker()
    topology.check_succeeded(clean, steps=20)
    worker.stop()
    job_id = topology.submit(20)
    topology.start_worker(FAILPOINT=f"gradients:oom:{at}")
    assert topology.check_succeeded(job_id, steps=20).attempt == 1
    told = [event.data for event in topology.events(job_id) if event.type == "micro_batch_halved"]
    assert [(data["micro_batch"], data["step"]) for data in told] == [(2, at)]
    # The same effective batch: the same losses, up to the order of additions.
    expected, found = losses(topology, clean), losses(topology, job_id)
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.core
def test_row_19_loss_is_not_a_number(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(40)
    topology.start_worker(FAILPOINT="loss:nan:15")
    job = topology.wait(job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)  # not tried again
    assert job.error is not None
    assert job.error["code"] == "nan_loss"
    assert "step 15" in job.error["message"]
    assert "learning_rate" in job.error["hint"]
    assert job.step <= 15 + 3
    assert [row.step for row in topology.checkpoints(job_id)] == [10]
    for path in ("", "/metrics", "/events", "/checkpoints"):
        json.loads(topology.http.get(f"/jobs/{job_id}{path}").text, parse_constant=pytest.fail)


@pytest.mark.core
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_row_21_newest_checkpoint_damaged(topology: Topology, damage: str) -> None:
    topology.api()
    job_id = topology.submit(60)
    first = topology.start_worker()
    topology.wait_step(job_id, 21)
    first.stop()
    folder = topology.settings.files.job(job_id).checkpoints
    older, newest = sorted(folder.glob("step-*"))[-2:]
    weights = newest / "adapter" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content[:-1] if damage == "truncated" else content)
    topology.start_worker()
    topology.check_succeeded(job_id, steps=60)
    assert topology.event_types(job_id).count("checkpoint_damaged") == 1
    begun = [event.data["step"] for event in topology.events(job_id) if event.type == "training_started"]
    assert begun == [0, int(older.name.removeprefix("step-"))]


ASA = {"use_asa": True, "asa_target_subspaces": 9, "init_warmup": 10, "final_warmup": 28, "mask_interval": 3}


@pytest.mark.core
def test_row_22_killed_at_any_step_result_is_bit_equal(topology: Topology) -> None:
    """A kill every 9 steps falls before, inside and after the ramp of ASA, which lasts from step 10 to 28."""
    steps, every = 36, 9
    fields: dict[str, Any] = {"adamss": ASA, "training": {"checkpoint_steps": 4}, "retries": 10}
    topology.api()
    whole, broken = topology.submit(steps, **fields), topology.submit(steps, **fields)
    assert topology.http.post(f"/jobs/{broken}/pause").is_success
    worker = topology.start_worker()
    topology.check_succeeded(whole, steps)
    worker.kill()
    assert topology.http.post(f"/jobs/{broken}/resume").is_success
    topology.start_worker(FAILPOINT=f"mid_step:kill:{every}")
    topology.wait(broken, seconds=5 * PATIENCE)  # each attempt loads torch
    job = topology.check_succeeded(broken, steps)
    assert job.attempt == 5
    assert adapter(topology, broken) == adapter(topology, whole)
    assert measured(topology, broken) == measured(topology, whole)
    maps = [topology.http.get(f"/jobs/{job_id}/subspaces").json() for job_id in (whole, broken)]
    assert maps[0]["modules"] == maps[1]["modules"]
    assert maps[0]["schedule"] == maps[1]["schedule"]
    assert maps[0]["active"] == ASA["asa_target_subspaces"]


LIMITED: dict[str, Any] = {"time_limit_seconds": 1, "adamss": ASA, "training": {"eval_steps": 200}}


@pytest.mark.core
def test_row_36_time_limit_publishes_and_a_larger_one_resumes(topology: Topology) -> None:
    steps = 600
    topology.api()
    limited, whole = topology.submit(steps, **LIMITED), topology.submit(steps, **LIMITED | {"time_limit_seconds": 600})
    topology.start_worker()
    job = topology.wait(limited)
    step = check_at_limit(topology, limited, steps)
    assert job.attempt == 1
    too_small = topology.http.post(f"/jobs/{limited}/resume", json={"time_limit_seconds": 1})
    assert (too_small.status_code, too_small.json()["error"]["code"]) == (422, "time_limit_too_small")
    assert topology.http.post(f"/jobs/{limited}/resume", json={"time_limit_seconds": 600}).is_success
    job = topology.check_succeeded(limited, steps)
    assert (job.attempt, job.failures, job.error) == (2, 0, None)
    started = [event.data["step"] for event in topology.events(limited) if event.type == "training_started"]
    assert started == [0, step]
    topology.check_succeeded(whole, steps)
    assert adapter(topology, limited) == adapter(topology, whole)


@pytest.mark.core
def test_row_36_killed_while_publishing_at_the_time_limit(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(10_000, **LIMITED)
    first = topology.start_worker(FAILPOINT="before_publish:kill")
    topology.until(lambda: topology.job(job_id).failures == 1)
    first.kill()
    topology.start_worker()
    job = topology.wait(job_id)
    check_at_limit(topology, job_id, 10_000)
    assert (job.attempt, job.failures) == (2, 1)


def check_at_limit(topology: Topology, job_id: str, steps: int) -> int:
    """A job that its time limit has ended: a checkpoint, whole artifacts, a result; returns the step it reached."""
    job = topology.job(job_id)
    with topology.explained(job_id):
        assert job.status == JobStatus.FAILED
        assert job.error is not None
        assert job.error["code"] == "time_limit"
        assert job.result is not None
        assert job.result["time_limit_reached"]
        assert 0 < job.step == job.result["steps"] < steps
        assert topology.checkpoints(job_id)[-1].step == job.step
        assert topology.event_types(job_id).count("time_limit") == job.attempt
        topology.check_artifacts(job_id)
        assert topology.http.get(f"/jobs/{job_id}/evaluation").json()["data"]
    return job.step


def losses(topology: Topology, job_id: str) -> list[float]:
    return [row.values["loss"] for row in topology.metrics(job_id) if row.kind == "train"]


def measured(topology: Topology, job_id: str) -> list[tuple[Any, ...]]:
    """Everything but times and memory, by step."""
    own = {"samples_per_second", "tokens_per_second", "memory_bytes", "process_memory_bytes", "cpu_percent"}
    rows = sorted(topology.metrics(job_id), key=lambda row: (row.step, row.kind))
    return [(row.kind, row.step, {k: v for k, v in row.values.items() if k not in own}) for row in rows]


def adapter(topology: Topology, job_id: str) -> dict[str, str]:
    """sha256 by file; card, manifest and evaluation name the job and its seconds."""
    path = topology.settings.resolved_home / topology.artifacts(job_id)[0].path
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name not in ("README.md", "manifest.json", "evaluation.json")]
        assert "adapter_model.safetensors" in names
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}


@pytest.mark.core
def test_row_17_contender_that_always_kills_its_process(topology: Topology) -> None:
    """The job's own result is complete by then, and must not be lost by what is only compared with it."""
    topology.api()
    job_id = topology.submit(20, compare=["head"], retries=5)
    topology.start_worker(FAILPOINT="contender:kill")
    topology.until(lambda: bool(topology.artifacts(job_id)))
    early = topology.artifacts(job_id)[0].sha256
    job = topology.check_succeeded(job_id, steps=20)
    assert (job.attempt, job.failures) == (3, 2)
    assert job.result is not None
    own, head = job.result["comparison"]["contenders"]
    assert (own["status"], head["status"], head["error"]["code"]) == ("trained", "failed", "process_died")
    assert topology.artifacts(job_id)[0].sha256 != early  # with the comparison in its card


@pytest.mark.core
def test_row_15_pause_and_cancel_during_a_comparison(topology: Topology) -> None:
    topology.api()
    job_ids = [topology.submit(400, compare=["head", "lora:r=1"], training={"eval_steps": 400}) for _ in range(2)]
    paused, cancelled = job_ids
    worker = topology.start_worker()
    for job_id, wish, status in ((paused, "pause", JobStatus.PAUSED), (cancelled, "cancel", JobStatus.CANCELLED)):
        topology.until(lambda: _compares(topology.job(job_id).result, "lora:r=1"))  # noqa: B023 - called at once
        assert topology.http.post(f"/jobs/{job_id}/{wish}").is_success
        job = topology.wait(job_id, status)
        assert job.result is not None
        assert job.result["eval_accuracy"] is not None
        topology.check_artifacts(job_id)
    worker.stop()
    topology.start_worker()
    assert topology.http.post(f"/jobs/{paused}/resume").is_success
    job = topology.check_succeeded(paused, steps=400)
    assert job.result is not None
    assert [one["status"] for one in job.result["comparison"]["contenders"]] == ["trained"] * 3
    finished = [event.data["contender"] for event in topology.events(paused) if event.type == "contender_finished"]
    assert finished == ["head", "lora:r=1"]  # none was trained twice


def _compares(result: dict[str, Any] | None, contender: str) -> bool:
    running = ((result or {}).get("comparison") or {}).get("running")
    return running is not None and running["contender"] == contender and running["step"] > 0
