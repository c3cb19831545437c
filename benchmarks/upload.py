"""`make bench-upload`: cost of a large upload: time, and memory of the API and of the reading process.

Usage: python -m benchmarks.upload [--megabytes N] [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import psutil

from benchmarks.report import Limit, Section, write_json
from service.cli.serve import free_port
from service.client import Client

RESULTS = Path(__file__).parent / "results" / "upload.json"
REVIEWS = Path(__file__).parents[1] / "examples" / "data" / "movie_reviews.csv"
START_SECONDS = 60.0
SAMPLE_SECONDS = 0.05
GROWTH_LIMIT_MB = 50.0  # of the API, whatever the size of the file
MEGABYTE = 1_000_000


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


def write_reviews(path: Path, megabytes: int) -> int:
    """Write real reviews repeatedly, numbered to be distinct; return the number of rows."""
    with REVIEWS.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    text = header.index("text")
    count = 0
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        while out.tell() < megabytes * MEGABYTE:
            for row in rows:
                count += 1
                writer.writerow([*row[:text], f"{count} {row[text]}", *row[text + 1 :]])
    return count


@contextmanager
def api(home: Path) -> Iterator[tuple[psutil.Process, Client]]:
    """Start `adamss api` with its own home folder."""
    port = free_port("127.0.0.1")
    passed = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
    environment = passed | {
        "ADAMSS_HOME": str(home),
        "ADAMSS_PORT": str(port),
        "ADAMSS_MAX_UPLOAD_BYTES": str(2 * 2**30),
    }
    with (home / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.cli", "api"], env=environment, stdout=log, stderr=log
        )
    try:
        yield psutil.Process(process.pid), _connect(f"http://127.0.0.1:{port}", home)
    finally:
        process.terminate()
        process.wait()


def _connect(url: str, home: Path) -> Client:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if (home / "api_key").exists():
            client = Client(url, (home / "api_key").read_text().strip())
            try:
                client.datasets()
                return client
            except OSError:
                client.close()
        time.sleep(0.2)
    raise TimeoutError(f"no service after {START_SECONDS:g} s; see {home / 'api.log'}")


def measure(megabytes: int) -> Section:
    section = Section(
        f"one upload of {megabytes:,} MB of CSV",
        ["rows", "seconds", "MB/s", "API before MB", "API peak MB", "reader peak MB"],
        notes=["Resident memory, sampled every 50 ms; the reader is the process that parses."],
    )
    with tempfile.TemporaryDirectory(prefix="adamss-upload-") as folder:
        file, home = Path(folder) / "reviews.csv", Path(folder) / "home"
        home.mkdir()
        rows = write_reviews(file, megabytes)
        with api(home) as (process, client), client:
            client.upload_dataset(REVIEWS)  # imports at the first upload must not count
            memory = Memory(process)
            begin = time.perf_counter()
            with memory.watching():
                dataset = client.upload_dataset(file)
            seconds = time.perf_counter() - begin
        assert dataset["rows"] == rows, dataset
    section.rows.append([rows, seconds, megabytes / seconds, memory.before, memory.api, memory.reader])
    section.limits.append(Limit("growth of the API, MB", memory.api - memory.before, GROWTH_LIMIT_MB))
    return section


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upload", description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=1_000, help="size of the file")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    options = parser.parse_args(arguments)
    section = measure(options.megabytes)
    print(section.render())
    write_json(options.json, [section])


if __name__ == "__main__":
    main()
