"""Watch a service while it reads an upload: its memory, and how long other requests wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Self

import httpx
import psutil

from benchmarks.upload_files import MEGABYTE

SAMPLE_SECONDS = 0.05
PATHS = ("/datasets", "/healthz")


@dataclass
class Memory:
    """Peaks of the resident memory of the API and of its children, in MB, while `watching`."""

    process: psutil.Process
    before: float = 0.0
    api: float = 0.0
    reader: float = 0.0
    _stop: Event = field(default_factory=Event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.before = self.api = self._mb(self.process)
        thread = Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.api = max(self.api, self._mb(self.process))
            for child in self.process.children():
                self.reader = max(self.reader, self._mb(child))

    @staticmethod
    def _mb(process: psutil.Process) -> float:
        try:
            return float(process.memory_info().rss) / MEGABYTE
        except psutil.NoSuchProcess:
            return 0.0


@dataclass
class Waits:
    """Milliseconds that requests of somebody else take, one every SAMPLE_SECONDS, while `watching`."""

    url: str
    key: str
    milliseconds: list[float] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)

    @contextmanager
    def watching(self) -> Iterator[Self]:
        thread = Thread(target=self._ask)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def percentile(self, share: float) -> float:
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=60) as other:
            while not self._stop.wait(SAMPLE_SECONDS):
                begin = time.perf_counter()
                for path in PATHS:
                    other.get(path).raise_for_status()
                self.milliseconds.append((time.perf_counter() - begin) * 1_000 / len(PATHS))
