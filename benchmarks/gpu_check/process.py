"""Parts run in processes of their own: a crash, a CUDA error or a lack of time costs one part, and no other."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.sizes import Sizes


@dataclass
class Outcome:
    """Everything the parts reported.

    Attributes:
        rows: section title -> its rows, column -> value.
        left_out: (what, why): not measured, and no fault.
        failed: (what, why): tried and gone wrong.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)


class Channel:
    """The part's side: sends rows to the parent process as soon as each is measured."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection, self.folder = connection, folder
        self._deadline = 0.0

    def wait(self) -> None:
        """Report that the imports are made, and return when the part's time begins."""
        self._connection.send(("ready", None, None))
        self._deadline = time.monotonic() + self._connection.recv()

    @property
    def left(self) -> float:
        """Seconds until the part's time is over."""
        return self._deadline - time.monotonic()

    def row(self, section: str, **values: Any) -> None:
        self._connection.send(("row", section, values))

    def leave_out(self, what: str, why: str) -> None:
        self._connection.send(("left_out", what, why))

    def fail(self, what: str, error: Exception | str) -> None:
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self._connection.send(("failed", what, " ".join(text.split())[:400]))

    def step(self, number: int) -> None:
        """Report a training step, so that the parent can kill this process at one."""
        self._connection.send(("step", number, None))


Part = Callable[[Channel, Sizes], None]


@dataclass(frozen=True)
class Started:
    """A part whose process makes its imports and then waits for its time to begin."""

    name: str
    process: BaseProcess
    connection: Connection


@dataclass(frozen=True)
class Launcher:
    """Runs parts one after the other and collects their reports.

    Attributes:
        folder: files that parts leave for one another.
        method: of multiprocessing. A process that has used a GPU must not be forked, so "spawn" there; on a CPU
            "forkserver" with the heavy imports done once saves seconds for each part.
    """

    sizes: Sizes
    folder: Path
    outcome: Outcome
    method: str
    log: Callable[[str], None]

    def start(self, name: str, part: Part) -> Started:
        """Start a part's process; `run` lets it begin."""
        context: Any = multiprocessing.get_context(self.method)
        if self.method == "forkserver":
            context.set_forkserver_preload(["benchmarks.gpu_check.preload"])
        ours, theirs = context.Pipe()
        process = context.Process(target=_enter, args=(part, theirs, self.folder, self.sizes), daemon=True)
        process.start()
        theirs.close()
        return Started(name, process, ours)

    def ready(self, started: Started, seconds: float) -> bool:
        """Wait at most `seconds` for a part's imports; False where it failed or took longer."""
        ending = self._receive(started, time.monotonic() + seconds, None)
        if ending != "ready":
            self._end(started, ending, seconds)
        return ending == "ready"

    def run(self, started: Started, seconds: float, kill_at: int | None = None) -> None:
        """Run a part for at most `seconds`, or until it reports the step `kill_at`; then it gets SIGKILL."""
        begun = time.monotonic()
        ending = "died"
        with suppress(OSError):
            started.connection.send(seconds)
            ending = self._receive(started, begun + seconds, kill_at)
        self._end(started, ending, seconds)
        self.log(f"{started.name}: {time.monotonic() - begun:.1f} s")

    def stop(self, started: Started) -> None:
        """Kill a part's process."""
        started.process.kill()
        started.process.join()

    def _end(self, started: Started, ending: str, seconds: float) -> None:
        self.stop(started)
        if ending == "died":
            self.outcome.failed.append((started.name, f"its process ended with status {started.process.exitcode}"))
        elif ending == "late":
            self.outcome.left_out.append((f"{started.name}: the rest", f"its {max(0.0, seconds):.0f} s were over"))

    def _receive(self, started: Started, deadline: float, kill_at: int | None) -> str:
        """Record reports until the part is ready, done, killed, dead or late; returns which."""
        name, receiver = started.name, started.connection
        while True:
            if not receiver.poll(max(0.0, deadline - time.monotonic())):
                return "late"
            try:
                kind, what, value = receiver.recv()
            except (EOFError, OSError):
                return "died"
            if kind in ("done", "ready"):
                return str(kind)
            if kind == "step":
                if kill_at is not None and what >= kill_at:
                    return "killed"
            elif kind == "row":
                self.outcome.rows.setdefault(what, []).append(value)
                self.log(f"  {what}: {', '.join(f'{k} {_short(v)}' for k, v in value.items())}")
            else:
                getattr(self.outcome, kind).append((f"{name}: {what}", value))
                self.log(f"  {kind}: {what}: {value}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _enter(part: Part, connection: Connection, folder: Path, sizes: Sizes) -> None:
    """The child's main function."""
    import logging
    import warnings

    warnings.simplefilter("ignore")  # upstream's deprecations would bury the tables
    logging.getLogger().setLevel(logging.ERROR)
    if sizes.small:
        import torch

        torch.set_num_threads(1)
    channel = Channel(connection, folder)
    try:
        part(channel, sizes)
    except Exception as error:
        import traceback

        traceback.print_exc()
        channel.fail("ended early", error)
    connection.send(("done", None, None))
