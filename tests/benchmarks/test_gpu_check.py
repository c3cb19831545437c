"""`make gpu-check`: its small version for real, and what it does on machines that lack something."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_check.__main__ import main
from benchmarks.gpu_check.parts import PLAN, run_all
from benchmarks.gpu_check.process import Channel, Launcher, Outcome
from benchmarks.gpu_check.sizes import FULL, Sizes

pytestmark = pytest.mark.timeout(600)  # it measures: a busy machine makes it slow, not wrong


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of the small version, as printed and as written."""
    return run_small(tmp_path_factory.mktemp("gpu") / "report.json")


def run_small(file: Path, *options: str) -> dict[str, Any]:
    """Run the check as on a machine without a GPU."""
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--json", str(file), "--seconds", "500", *options]
    environ = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("\n{") :])
    assert found == json.loads(file.read_text())
    return found


@pytest.fixture(scope="module")
def exactness(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one part of the small version."""
    return run_small(tmp_path_factory.mktemp("gpu") / "report.json", "--only", "exactness")


def rows(report: dict[str, Any], title: str) -> list[dict[str, Any]]:
    return [row for section in report["sections"] if section["title"].startswith(title) for row in section["rows"]]


@pytest.mark.compat
def test_every_contender_is_measured(report: dict[str, Any]) -> None:
    assert report["small"]
    assert report["failed"] == []
    measured = {(row["precision"], row["K"], row["contender"]) for row in rows(report, "steps: encoder")}
    for precision in ("fp32", "bf16"):
        for subspaces in (3, 8):
            names = {"ours", "ours without ASA", "PEFT AdaMSS", "LoRA r=1", f"LoRA r={subspaces}"}
            assert {name for *setting, name in measured if setting == [precision, subspaces]} == names
    for row in rows(report, "steps: "):
        assert row["init s"] > 0
        assert row["step ms"] > 0
        assert row["step/LoRA"] > 0


def test_the_layer_is_exact(exactness: dict[str, Any]) -> None:
    found = rows(exactness, "exactness")
    assert len(found) == 2 * 2 * 3
    assert all(row[name] < 1e-5 for row in found if row["precision"] == "fp32" for name in ("out", "grad A", "grad B"))
    assert all(math.isfinite(value) for row in found for value in row.values() if isinstance(value, float))


@pytest.mark.compat
def test_a_killed_run_resumes_to_the_same_end(report: dict[str, Any]) -> None:
    (compared,) = rows(report, "resumed against uninterrupted")
    assert compared["resumed at step"] > 0
    assert compared["artifacts bit-identical"]
    assert compared["same evaluation"]
    assert all(row["estimate MB"] > 0 for row in rows(report, "whole run"))


@pytest.mark.compat
def test_a_lack_of_memory_halves_the_micro_batch_and_nothing_else(report: dict[str, Any]) -> None:
    (compared,) = rows(report, "halved against whole batches")
    assert compared["micro-batches tried"] == "4"
    assert compared["rows a step"] == compared["batch"] == 8
    assert compared["largest difference of a weight"] < 1e-5
    assert "injected" in rows(report, "out of memory")[1]["run"]


@pytest.mark.compat
@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_quantised_where_bitsandbytes_is(report: dict[str, Any]) -> None:
    assert [row["run"] for row in rows(report, "quantised runs")] == ["4bit"]
    assert "ours" in [row["contender"] for row in rows(report, "steps: decoder") if row["precision"] == "4bit"]


@pytest.mark.compat
def test_it_says_what_it_leaves_out(report: dict[str, Any]) -> None:
    left_out = {entry["what"]: entry["why"] for entry in report["left_out"]}
    assert left_out["everything at full size"] == "there is no GPU"
    assert "compiler" in left_out["compiled steps: all"]


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(
        "benchmarks.gpu_check.machine.find_spec", lambda name: None if name in names else find_spec(name)
    )


def test_without_what_it_needs_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hide(monkeypatch, "peft")
    assert main([]) == 2
    assert "not installed: peft" in capsys.readouterr().err


def test_parts_whose_packages_are_missing_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hide(monkeypatch, "sklearn", "pydantic", "bitsandbytes")
    outcome = Outcome()
    launcher = Launcher(FULL, tmp_path, outcome, "spawn", lambda _: None)
    run_all(launcher, 100.0, lambda: 100.0, None)
    assert [name for name, _ in outcome.left_out] == [planned.name for planned in PLAN]
    assert dict(outcome.left_out)["exactness"] == "not installed: scikit-learn"
    assert dict(outcome.left_out)["quantised runs"] == "not installed: scikit-learn, pydantic, bitsandbytes"


def dying(channel: Channel, sizes: Sizes) -> None:
    channel.wait()
    channel.row("table", value=1)
    os.kill(os.getpid(), signal.SIGKILL)


def endless(channel: Channel, sizes: Sizes) -> None:
    channel.wait()
    channel.row("table", value=2)
    time.sleep(600)


def failing(channel: Channel, sizes: Sizes) -> None:
    raise RuntimeError("no such device")


def stepping(channel: Channel, sizes: Sizes) -> None:
    channel.wait()
    for step in range(1_000_000):
        channel.step(step)
    channel.fail("stepping", "nobody killed it")


@pytest.mark.parametrize(
    ("part", "kill_at", "table", "left_out", "failed"),
    [
        (dying, None, [{"value": 1}], [], [("part", "its process ended with status -9")]),
        (endless, None, [{"value": 2}], [("part: the rest", "its 1 s were over")], []),
        (failing, None, [], [], [("part: ended early", "RuntimeError: no such device")]),
        (stepping, 3, [], [], []),
    ],
)
def test_a_part_costs_at_most_itself(
    tmp_path: Path,
    part: Callable[[Channel, Sizes], None],
    kill_at: int | None,
    table: list[dict[str, Any]],
    left_out: list[tuple[str, str]],
    failed: list[tuple[str, str]],
) -> None:
    outcome = Outcome()
    launcher = Launcher(FULL, tmp_path, outcome, "spawn", lambda _: None)
    started = launcher.start("part", part)
    if launcher.ready(started, 60):
        launcher.run(started, 1.0, kill_at)
    assert not started.process.is_alive()
    assert (outcome.rows.get("table", []), outcome.left_out, outcome.failed) == (table, left_out, failed)
