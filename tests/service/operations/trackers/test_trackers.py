"""A job's numbers in other tools, each read again with the tool's own reader.

MLflow and Weights & Biases are heavy: their tests run where they are installed.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from time import sleep
from typing import Any, Literal

import pytest

from service.client.types import JobJson, MetricJson
from service.operations.trackers import MissingExtra, open_follower
from service.shared.ids import new_id
from tests.service.jobs.test_comparing import COMPARISON

pytestmark = pytest.mark.slow

JOB: Any = {"id": "job_aaaaaaaaaaaaaaaaaaaa", "name": "reviews", "status": "succeeded"}
JOB |= {"resolved": {"spec": {"base_model": "tiny", "training": {"epochs": 2}}}}


def row(seq: int, kind: Literal["train", "eval"] = "train", **values: float | None) -> MetricJson:
    return {
        "seq": seq,
        "kind": kind,
        "step": seq * 10,
        "epoch": 1.0,
        "time": "2026-01-01T00:00:00Z",
        "values": values,
    }


ROWS = [row(1, loss=0.5), row(2, loss=None), row(3, "eval", eval_accuracy=0.75), row(4, loss=0.25)]


def copy_twice(target: Any, folder: Path, job: JobJson = JOB) -> None:
    """In two runs of the follower, as after Ctrl-C."""
    follower = open_follower(target, job, folder)
    assert follower.after == 0
    for entry in ROWS[:2]:
        follower.write(entry)
    follower.close({**job, "status": "running"})
    follower = open_follower(target, job, folder)
    assert follower.after == 2
    for entry in ROWS[2:]:
        follower.write(entry)
    follower.close(job)


def test_tensorboard_reads_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    copy_twice("tensorboard", tmp_path)
    assert scalars(tmp_path / JOB["id"]) == [
        ("train/loss", 10, 0.5),
        ("eval/accuracy", 30, 0.75),
        ("train/loss", 40, 0.25),
    ]


def test_a_comparison_is_copied_with_the_end_of_the_job(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    compared: Any = JOB | {"comparison": COMPARISON, "progress": {"step": 20}}
    open_follower("tensorboard", compared, tmp_path).close(compared)
    assert scalars(tmp_path / JOB["id"]) == [
        ("compare/adamss/loss", 20, pytest.approx(0.4)),
        ("compare/adamss/accuracy", 20, 0.75),
        ("compare/adamss/adapter_parameters", 20, 2_000.0),
        ("compare/lora-r1/loss", 20, 0.5),
        ("compare/lora-r1/accuracy", 20, pytest.approx(0.7)),
        ("compare/lora-r1/adapter_parameters", 20, 256.0),
    ]


def test_tensorboard_is_live(tmp_path: Path) -> None:
    """What was copied is on disk while the follower goes on."""
    pytest.importorskip("tensorboardX")
    follower = open_follower("tensorboard", JOB, tmp_path)
    for entry in ROWS[:2]:
        follower.write(entry)
    follower.flush()
    while not scalars(tmp_path / JOB["id"]):
        sleep(0.1)
    assert scalars(tmp_path / JOB["id"]) == [("train/loss", 10, 0.5)]
    follower.close(JOB)


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """From event files: records of a length, its checksum, an Event message, and its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for file in sorted(folder.glob("events.*")):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack_from("<Q", data)
            event = Event.FromString(data[12 : 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            data = data[16 + length :]
    return sorted(found, key=lambda entry: entry[1])


def test_mlflow_has_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = os.environ.get("TEST_MLFLOW_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    job: Any = {**JOB, "id": new_id("job")}  # a server may have those of an earlier test run
    copy_twice("mlflow", tmp_path, job)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("adamss").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`adamss.job` = '{job['id']}'")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"base_model": "tiny", "training.epochs": "2"}
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(entry.step, entry.value) for entry in history] == [(10, 0.5), (40, 0.25)]
    assert run.data.metrics["eval/accuracy"] == 0.75


def test_wandb_keeps_the_numbers_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    copy_twice("wandb", tmp_path)
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))


def test_a_missing_tool_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "service.operations.trackers.mlflow_run", raising=False)  # of a test before
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra, match=r'pip install "adamss\[mlflow\]"'):
        open_follower("mlflow", JOB, tmp_path)
