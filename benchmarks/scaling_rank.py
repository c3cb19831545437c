"""One process of a run that `benchmarks.scaling` measures: `python -m benchmarks.scaling_rank <folder>`.

Memory and CPU time are measured from the first step to the last but one: files that are loaded do not count, nor do
the final evaluation and the artifacts.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from pathlib import Path
from threading import Event, Thread
from time import monotonic, process_time
from typing import Any

import psutil
import torch
from torch import distributed as dist

from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.request import RunRequest
from adamss_core.training.run import follow, run

SAMPLE_SECONDS = 0.02


class Watch:
    """Peak of this process's memory, its CPU seconds, and the bytes that its collectives carry."""

    def __init__(self, folder: Path) -> None:
        self.peak = self.sent = 0
        self.cpu: list[float] = []  # since the start of the process, at each sample
        self._process, self._done = psutil.Process(), Event()
        self._begun, self._trained = folder / "begun", folder / "trained"
        for name in ("all_reduce", "all_gather_single"):
            setattr(dist, name, self._counted(getattr(dist, name)))
        Thread(target=self._sample, daemon=True).start()

    def step(self, step: int, total: int) -> None:
        """Tell all processes that a step is done."""
        (self._trained if step >= total - 1 else self._begun).touch()

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS) and not self._trained.exists():
            if self._begun.exists():
                self.peak = max(self.peak, self._process.memory_info().rss)
                self.cpu.append(process_time())

    def _counted(self, collective: Any) -> Any:
        def counted(first: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            self.sent += first.nbytes
            return collective(first, *arguments, **options)

        return counted


class Clock(NullReporter):
    """Times of the steps."""

    def __init__(self, watch: Watch) -> None:
        self.times: list[float] = []
        self.sent: list[int] = []
        self._watch = watch

    def progress(self, *, step: int, total_steps: int, **_: Any) -> None:
        self.times.append(monotonic())
        self.sent.append(self._watch.sent)
        self._watch.step(step, total_steps)


def main() -> None:
    torch.set_num_threads(1)
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    request = RunRequest.from_json((folder / "request.json").read_text())
    watch = Watch(folder)
    clock = Clock(watch)
    if rank == 0:
        run(request, clock)
    else:
        follow(request)
    steps = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    sent = [after - before for before, after in zip(clock.sent, clock.sent[1:], strict=False)]
    found = {
        "step_seconds": statistics.median(steps) if steps else 0.0,
        "cpu_seconds": watch.cpu[-1] - watch.cpu[0] if watch.cpu else 0.0,
        "sent_bytes": statistics.median(sent) if sent else 0,
        "peak_bytes": watch.peak,
    }
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
