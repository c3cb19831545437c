"""A run in several processes makes the run of one: steps, losses, pruning, metrics, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adamss_core.training.checkpoints import CheckpointStore
from tests.adamss_core.training.ranks.processes import Ended, ran
from tests.adamss_core.training.support import job, request, texts

pytestmark = pytest.mark.slow

# 203 rows: 21 are held out, and the last step of an epoch has fewer rows than the others.
ROWS = texts(203)
TRAINING: dict[str, Any] = {"max_steps": 30, "eval_steps": 15, "logging_steps": 1, "gradient_accumulation_steps": 2}


def assert_same_run(one: Ended, other: Ended) -> None:
    assert other.error is None
    assert other.steps == one.steps
    for kind, name in (("train", "loss"), ("train", "grad_norm"), ("eval", "eval_loss")):
        assert other.values(kind, name) == pytest.approx(one.values(kind, name), abs=1e-5, rel=1e-5)
    assert other.values("train", "learning_rate") == one.values("train", "learning_rate")
    assert other.values("train", "trainable_parameters") == one.values("train", "trainable_parameters")
    assert other.values("eval", "eval_accuracy") == one.values("eval", "eval_accuracy")
    assert active(other) == active(one)
    assert other.artifacts == one.artifacts


def active(ended: Ended) -> dict[str, list[tuple[str, int]]]:
    """The subspaces that are left after each mask step."""
    return {
        step: [(name, one["index"]) for name, group in summary["modules"].items() for one in group if one["active"]]
        for step, summary in ended.maps.items()
    }


@pytest.fixture(scope="module")
def alone(still_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return ran(request(still_model, tmp_path_factory.mktemp("alone"), ROWS, spec=job(training=TRAINING)), 1)


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.compat)])
def test_several_processes_make_the_run_of_one(still_model: Path, tmp_path: Path, alone: Ended, size: int) -> None:
    """30 steps of 16 rows, through all mask steps, with two epochs' uneven ends, and every metric."""
    several = ran(request(still_model, tmp_path, ROWS, spec=job(training=TRAINING)), size)
    assert_same_run(alone, several)
    started = next(data for name, _, data in several.events if name == "training_started")
    assert started["processes"] == size


@pytest.mark.compat
def test_a_run_is_resumed_with_another_number_of_processes(still_model: Path, tmp_path: Path, alone: Ended) -> None:
    """Two processes to step 9, between mask steps; then one to step 17, in the second epoch; then two again."""
    asked = request(still_model, tmp_path, ROWS, spec=job(training=TRAINING))
    parts = [ran(asked, 2, stop_at=9), ran(asked, 1, stop_at=17), ran(asked, 2)]
    stops = [part.steps[-1] for part in parts]
    assert 9 <= stops[0] < stops[1] < stops[2] == 30
    joint = Ended(
        rows=[row for part in parts for row in part.rows],
        events=[],
        checkpoints=[],
        maps=parts[0].maps | parts[1].maps | parts[2].maps,
        steps=[step for part in parts for step in part.steps],
        artifacts=parts[2].artifacts,
        result=parts[2].result,
        error=parts[2].error,
    )
    assert_same_run(alone, joint)


def test_memory_that_runs_out_in_one_process_halves_the_batches_of_all(
    still_model: Path, tmp_path: Path, alone: Ended
) -> None:
    """Rank 1 fails in its third step, and rank 0, which reports, only hears of it."""
    faults = {1: {"FAILPOINT": "gradients:oom:3"}}
    several = ran(
        request(still_model, tmp_path, ROWS, spec=job(training=TRAINING)),
        2,
        environment=lambda rank: faults.get(rank, {}),
    )
    assert_same_run(alone, several)
    halved = [data for name, _, data in several.events if name == "micro_batch_halved"]
    assert halved == [{"micro_batch": 4, "step": 3}]


@pytest.mark.compat
def test_an_error_of_one_process_is_the_run_s(still_model: Path, tmp_path: Path) -> None:
    faults = {1: {"FAILPOINT": "gradients:raise:3"}}
    ended = ran(
        request(still_model, tmp_path, ROWS, spec=job(training=TRAINING)),
        2,
        environment=lambda rank: faults.get(rank, {}),
    )
    assert ended.error is not None
    assert ended.error["code"] == "rank_failed"
    assert "The fault injected at gradients." in ended.error["message"]
    assert ended.steps[-1] == 2


@pytest.mark.compat
def test_each_process_has_its_own_dropout_and_checkpoints_keep_it(model: Path, tmp_path: Path) -> None:
    """A run that is stopped and resumed with as many processes is the same to the last bit."""
    spec = job(training={**TRAINING, "checkpoint_steps": 10})
    whole, parts = (
        request(model, tmp_path / "whole", ROWS, spec=spec),
        request(model, tmp_path / "parts", ROWS, spec=spec),
    )
    one = ran(whole, 2)
    first = ran(parts, 2, stop_at=7)
    second = ran(parts, 2)
    assert first.values("train", "loss") + second.values("train", "loss") == one.values("train", "loss")
    names = ("adapter/adapter_model.safetensors", "optimizer.safetensors", "random.safetensors")
    for name in names:
        ends = [(CheckpointStore(asked.folder / "checkpoints", 1).path(30) / name) for asked in (whole, parts)]
        assert ends[0].read_bytes() == ends[1].read_bytes(), name
