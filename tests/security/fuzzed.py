"""The service that `make fuzz` works on, as a process of its own, so that its memory can be looked at alone.

    python -m tests.security.fuzzed HOME FACTS

It prints where it is, and stops when its standard input is closed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from service.shared.settings import Settings
from tests.security.schema import Surface, add_worker, surface_of
from tests.security.support import served, target


@dataclass
class Api:
    """Where the process is, and what the system says of it."""

    surface: Surface
    process: subprocess.Popen[str]

    @property
    def _proc(self) -> Path:
        return Path(f"/proc/{self.process.pid}")

    def memory(self) -> int:
        """Bytes that it holds now."""
        return int((self._proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def peak(self) -> int:
        """The most bytes that it ever held."""
        line = next(line for line in (self._proc / "status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def files(self) -> int:
        """How many files and connections it has open."""
        return len(list((self._proc / "fd").iterdir()))

    def children(self) -> int:
        """How many processes that it started are still there."""
        tasks = (self._proc / "task").iterdir()
        return sum(len((task / "children").read_text().split()) for task in tasks)


@contextmanager
def started(home: Path, facts: dict[str, Any]) -> Iterator[Api]:
    """The process, once it answers. Its home folder needs the tiny model."""
    (described := home.parent / "facts.json").write_text(json.dumps(facts))
    command = [sys.executable, "-m", "tests.security.fuzzed", str(home), str(described)]
    with (home.parent / "api.log").open("w") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (home.parent / "api.log").read_text()[-2_000:]
        yield Api(Surface(**json.loads(line)), process)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def main(home: str, facts: str) -> None:
    # Without the hub, whose answers are not the service's.
    settings = Settings(home=Path(home), requests_per_minute=0, allow_hub=False)
    with target(settings, json.loads(Path(facts).read_text())) as made, served(made.app) as url:
        add_worker(made)
        print(json.dumps(asdict(surface_of(made, url))), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
