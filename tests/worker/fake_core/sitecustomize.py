"""Stands in for the core in training processes of these tests: put on PYTHONPATH, it is imported before anything else.

The run does what the job's name says, such as `steps=40 pause=0.02 end=segv`. It needs no torch, so a test of the
worker takes tenths of a second; the tests in `tests/e2e` run the real core.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sys
import time
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamss_core.training.request import Reporter, RunRequest, RunResult

CHECKPOINT_STEPS = 10
# Of a forked process, the environment of its fork server; /proc has it no more once the process has a title.
STARTED_WITH = dict(os.environ)


def run(request: RunRequest, reporter: Reporter) -> RunResult:
    from adamss_core.failpoints import failpoint
    from adamss_core.training.request import ArtifactFile, RunResult

    wishes = dict(wish.split("=") for wish in request.spec.name.split() if "=" in wish)
    steps = int(wishes.get("steps", 20))
    if wishes.get("print") == "environment":
        print(json.dumps({"started": STARTED_WITH, "own": dict(os.environ)}))
    first = _resume(request)
    reporter.resumed(first)
    reporter.event("fake_run", f"from step {first}", {"device": "none"})
    for step in range(first + 1, steps + 1):
        time.sleep(float(wishes.get("pause", 0.01)))
        if reporter.stop_requested():
            _stop(request, reporter, step - 1)
        if step == int(wishes.get("at", steps)) and wishes.get("end"):
            _end_badly(wishes["end"])
        loss = float("nan") if step == 3 else 1.0 / step
        reporter.metrics(kind="train", step=step, epoch=step / steps, values={"loss": loss})
        asa = {"total": 8, "active": 8 - step % 8, "target": 2}
        reporter.progress(step=step, total_steps=steps, epoch=step / steps, eta_seconds=0.1 * (steps - step), asa=asa)
        if step % 5 == 0:
            reporter.subspaces(step=step, summary={"step": step, "modules": {}, "schedule": [], **asa})
        every = request.spec.training.eval_steps
        if every != "epoch" and every < steps and step % every == 0:
            values: dict[str, float | int | None] = {"eval_accuracy": _accuracy(request, step, steps)}
            reporter.metrics(kind="eval", step=step, epoch=step / steps, values=values)
        if step % CHECKPOINT_STEPS == 0:
            _save(request, reporter, step)
    artifacts = []
    for name in request.spec.artifacts:
        path = request.folder / "artifacts" / f"{name}.zip"
        path.parent.mkdir(exist_ok=True)
        content = f"{name} of {request.job_id}".encode()
        failpoint("artifact")
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        artifacts.append(ArtifactFile(name, path, len(content), digest, {"name": name, "difference": float("inf")}))
        reporter.artifact(artifacts[-1])
    return RunResult(
        result={"eval_accuracy": _accuracy(request, steps, steps), "eval_loss": float("nan")}, artifacts=artifacts
    )


def _accuracy(request: RunRequest, step: int, steps: int) -> float:
    """Of a run that learns best at a rate of 0.01; 1 of one that is not evaluated in between."""
    if request.spec.training.eval_steps in ("epoch", steps):
        return 1.0
    return step / (step + 5) / (1 + abs(math.log10(request.spec.training.learning_rate) + 2))


def _resume(request: RunRequest) -> int:
    return max((int(path.name) for path in (request.folder / "checkpoints").glob("*")), default=0)


def _save(request: RunRequest, reporter: Reporter, step: int) -> None:
    folder = request.folder / "checkpoints" / str(step)
    folder.mkdir(parents=True, exist_ok=True)
    reporter.checkpoint(step=step, path=f"checkpoints/{step}", best=True, values={})


def _stop(request: RunRequest, reporter: Reporter, step: int) -> None:
    from adamss_core.training.errors import Stopped

    if step:
        _save(request, reporter, step)
    raise Stopped


def _end_badly(how: str) -> None:
    from adamss_core.training.errors import TrainingError

    if how == "raise":
        raise ValueError("the rows\nmake no sense")
    if how == "nan":
        raise TrainingError("nan_loss", "The loss is not a number.", hint="Use a smaller learning rate.")
    if how == "format":
        raise TrainingError("checkpoint_format", "Of a later release.", hint="Wait.", deterministic=False)
    if how == "exit":
        sys.stderr.write("the library gave up\n")
        os._exit(7)
    if how == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    os.kill(os.getpid(), getattr(signal, how))


module: Any = types.ModuleType("adamss_core.training.run")
module.run = run
sys.modules["adamss_core.training.run"] = module
sys.modules["adamss_core.warm"] = types.ModuleType("adamss_core.warm")  # which imports torch
