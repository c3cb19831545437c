"""Runs in several processes over gloo, as a launcher starts them; forked, as importing torch for each costs seconds."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not named in __all__

from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.request import RunRequest
from adamss_core.training.run import follow, run
from service.shared.processes.spawned_process import Launch, Process
from tests.adamss_core.training.support import Recorder
from tests.processes import FORKSERVER

ROOT = Path(__file__).parents[4]
DEADLINE = 120.0  # seconds that no run takes, however busy the machine is


@dataclass(frozen=True)
class Ended:
    """What the first process of a run has seen."""

    rows: list[tuple[str, int, dict[str, Any]]]
    events: list[tuple[str, str, dict[str, Any]]]
    checkpoints: list[dict[str, Any]]
    maps: dict[str, Any]
    steps: list[int]
    artifacts: list[str]
    result: dict[str, Any] | None
    error: dict[str, Any] | None

    def values(self, kind: str, name: str) -> list[float]:
        return [values[name] for which, _, values in self.rows if which == kind]


def main() -> None:
    """Be one rank: of a request in a file, with the step at which the first is asked to stop, or -1.

    The launcher's variables come as an argument: a server from which processes are forked has one environment.
    """
    torch.set_num_threads(1)
    path, stop_at = Path(sys.argv[1]), int(sys.argv[2])
    os.environ.update(json.loads(sys.argv[3]))
    request = RunRequest.from_json(path.read_text())
    if os.environ["RANK"] != "0":
        follow(request)
        return
    recorder = Recorder(stop_at if stop_at >= 0 else None)

    def on_step(step: int) -> None:
        path.with_suffix(".step").write_text(str(step))

    def on_term(*_: object) -> None:
        recorder.stop_at = 0

    recorder.on_step = on_step
    signal.signal(signal.SIGTERM, on_term)
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    artifacts: list[str] = []
    try:
        outcome = run(request, recorder)
        result, artifacts = outcome.result, [one.path.name for one in outcome.artifacts]
    except Stopped:
        error = {"code": "stopped"}
    except TrainingError as failed:
        error = {"code": failed.code, "message": failed.message, "deterministic": failed.deterministic}
    seen = {
        "rows": recorder.rows,
        "events": recorder.events,
        "checkpoints": recorder.checkpoints,
        "maps": recorder.maps,
        "steps": [one["step"] for one in recorder.steps],
        "artifacts": artifacts,
        "result": result,
        "error": error,
    }
    path.with_suffix(".ended").write_text(json.dumps(seen))


@contextmanager
def started(
    request: RunRequest,
    size: int,
    *,
    stop_at: int = -1,
    environment: Callable[[int], dict[str, str]] = lambda _: {},
    module: str = __name__,
) -> Iterator[tuple[list[Process], Path]]:
    """Start the processes of a run, each by the `main` of a module; yields them with the file of their request."""
    path = request.folder / f"request-{size}.json"
    path.write_text(request.to_json())
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # the launcher's: it outlives any rank
    common = {
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    with ExitStack() as files:
        empty = files.enter_context(Path(os.devnull).open("rb"))
        logs = [files.enter_context(path.with_suffix(f".log{rank}").open("wb")) for rank in range(size)]
        processes = [
            FORKSERVER.start(
                module,
                [
                    str(path),
                    str(stop_at),
                    json.dumps({**common, "RANK": str(rank), "LOCAL_RANK": str(rank), **environment(rank)}),
                ],
                Launch({**os.environ, "PYTHONPATH": str(ROOT)}, empty.fileno(), log.fileno(), log.fileno()),
            )
            for rank, log in enumerate(logs)
        ]
        try:
            yield processes, path
        finally:
            for process in processes:
                process.kill()


def ran(
    request: RunRequest,
    size: int,
    *,
    stop_at: int = -1,
    environment: Callable[[int], dict[str, str]] = lambda _: {},
    module: str = __name__,
) -> Ended:
    """Run a request in so many processes to its end."""
    with started(request, size, stop_at=stop_at, environment=environment, module=module) as (processes, path):
        statuses = [process.wait(DEADLINE) for process in processes]
    logs = "\n".join(path.with_suffix(f".log{rank}").read_text() for rank in range(size))
    assert statuses == [0] * size, logs
    return Ended(**json.loads(path.with_suffix(".ended").read_text()))
