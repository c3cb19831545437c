"""`make bench-upload`: what large uploads cost: time, memory of API and reading process, waits of other requests.

Usage: python -m benchmarks.upload [--megabytes N] [--kinds CSV Parquet ...] [--json FILE] [--table]

Each kind of file is written, uploaded to a service of its own, read by a peer, and deleted before the next. A tenth of
it is uploaded first, so that memory that grows with a file shows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import Limit, Section, write_json
from benchmarks.upload_files import KINDS, MEGABYTE, REVIEWS, Kind
from benchmarks.upload_watch import Memory, Waits
from service.cli.serve import free_port
from service.client import Client

RESULTS = Path(__file__).parents[1] / "docs" / "measurements" / "upload.json"
START_SECONDS = 60.0
IDLE_SECONDS = 5.0
GROWTH_LIMIT_MB = 50.0  # of the API, whatever the size of the file
READER_LIMIT_MB = 250.0
COLUMNS = (
    *("kind", "MB", "rows", "seconds", "MB/s", "rows/s"),
    *("API grows MB", "reader MB at a tenth", "reader MB", "p99 ms idle", "p99 ms"),
    *("datasets' way MB/s", "MB of it", "plain Python MB/s"),
)
NOTES = [
    "Seconds from the first byte sent to the answer. The reader is the process that parses; memory is resident, "
    "sampled every 50 ms.",
    "p99: of GET /datasets and /healthz, 20 a second, before and during the upload.",
    "datasets' way: pyarrow, one thread, into an Arrow file. Plain Python: csv and json, into JSON lines. Neither "
    "checks, counts or compares a cell; plain Python reads the tenth.",
]


@dataclass(frozen=True)
class Service:
    """A running API."""

    process: psutil.Process
    client: Client
    key: str

    def waits(self) -> Waits:
        return Waits(self.client.url, self.key)


@dataclass(frozen=True)
class Measured:
    """One upload."""

    rows: int
    seconds: float
    memory: Memory
    waits: Waits


@contextmanager
def api(home: Path, limit: int) -> Iterator[Service]:
    """Start `adamss api` with its own home folder."""
    port = free_port("127.0.0.1")
    passed = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
    environment = passed | {
        "ADAMSS_HOME": str(home),
        "ADAMSS_PORT": str(port),
        "ADAMSS_MAX_UPLOAD_BYTES": str(limit),
    }
    with (home / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.cli", "api"], env=environment, stdout=log, stderr=log
        )
    try:
        with _connect(f"http://127.0.0.1:{port}", home) as client:
            yield Service(psutil.Process(process.pid), client, (home / "api_key").read_text().strip())
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


def measure(kind: Kind, megabytes: float) -> list[Any]:
    """Return the row of COLUMNS of one kind."""
    size = round(megabytes * MEGABYTE)
    with tempfile.TemporaryDirectory(prefix="adamss-upload-") as folder:
        small, file, home = Path(folder) / f"a{kind.suffix}", Path(folder) / f"b{kind.suffix}", Path(folder) / "home"
        home.mkdir()
        few, rows = kind.write(small, size // 10), kind.write(file, size)
        with api(home, 2 * size + 2**24) as service:
            service.client.upload_dataset(REVIEWS)  # imports at the first upload must not count
            with service.waits().watching() as idle:
                time.sleep(IDLE_SECONDS)
            tenth = _upload(service, small, few)
            whole = _upload(service, file, rows)
        arrow, lines = _peer("arrow", kind, file), _peer("lines", kind, small)
        written_small = small.stat().st_size / MEGABYTE
        written = file.stat().st_size / MEGABYTE
    assert (arrow["rows"], lines["rows"]) == (rows, few)
    return [
        *(kind.name, written, rows, whole.seconds, written / whole.seconds, rows / whole.seconds),
        *(whole.memory.api - tenth.memory.before, tenth.memory.reader, whole.memory.reader),
        *(idle.percentile(99), whole.waits.percentile(99)),
        *(written / arrow["seconds"], arrow["peak_mb"], written_small / lines["seconds"]),
    ]


def _upload(service: Service, file: Path, rows: int) -> Measured:
    memory = Memory(service.process)
    begin = time.perf_counter()
    with memory.watching(), service.waits().watching() as waits:
        dataset = service.client.upload_dataset(file)
    seconds = time.perf_counter() - begin
    assert dataset["rows"] == rows, dataset
    service.client.delete_dataset(dataset["id"])
    return Measured(rows, seconds, memory, waits)


def _peer(how: str, kind: Kind, file: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "benchmarks.upload_peer", how, kind.peer, str(file)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    result: dict[str, Any] = json.loads(answer)
    return result


def _measured(path: Path, megabytes: float) -> dict[str, list[Any]]:
    """Return the rows of earlier runs at the same size, of which a new run replaces those of its own kinds."""
    if not path.exists():
        return {}
    (section,) = json.loads(path.read_text())["sections"]
    if section["title"] != section_of([], megabytes).title:
        return {}
    return {row["kind"]: [row[name] for name in COLUMNS] for row in section["rows"]}


def section_of(rows: Sequence[list[Any]], megabytes: float) -> Section:
    section = Section(f"uploads of {megabytes:,g} MB", list(COLUMNS), list(map(list, rows)), notes=NOTES)
    growth, reader = COLUMNS.index("API grows MB"), COLUMNS.index("reader MB")
    section.limits = [
        Limit("largest growth of the API, MB", max([row[growth] for row in rows], default=0), GROWTH_LIMIT_MB),
        Limit("largest reader, MB", max([row[reader] for row in rows], default=0), READER_LIMIT_MB),
    ]
    return section


def table(path: Path = RESULTS) -> str:
    """Return the measured numbers as the table of docs/formats.md."""
    (section,) = json.loads(path.read_text())["sections"]
    names = COLUMNS[:1] + COLUMNS[2:]
    lines = [names, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in section["rows"])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upload", description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=1_000, help="size of each file")
    parser.add_argument("--kinds", nargs="+", default=[kind.name for kind in KINDS], metavar="KIND")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    parser.add_argument("--table", action="store_true", help="print the table of docs/formats.md, and measure nothing")
    options = parser.parse_args(arguments)
    if not options.table:
        rows = _measured(options.json, options.megabytes)
        for kind in [kind for kind in KINDS if kind.name in options.kinds]:
            rows[kind.name] = measure(kind, options.megabytes)
            section = section_of([rows[kind.name] for kind in KINDS if kind.name in rows], options.megabytes)
            write_json(options.json, [section])
            print(section.render(), flush=True)
    print(table(options.json))


if __name__ == "__main__":
    main()
