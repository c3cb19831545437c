"""`make fuzz`: thousands of mutants and the whole schema against one running service; prints the numbers.

    python -m tests.security.fuzz --reads 20000 --uploads 4000 --files 6000 --examples 40

Copies of every kind of file that an upload may be, damaged or with odd values, are given to the reader
(`tests/security/fuzz_readers.py`) and uploaded over HTTP; mutants of adapters and checkpoints go to what reads them.
The API is a process of its own. It ends with 1 where the API was down, answered a 5xx, took what it should not, or
holds more memory, files or processes at the end than after the warm-up, and where the reader was at a loss.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx

from service.base_models import inspection
from service.datasets.convert import UNREADABLE
from service.shared.settings import Settings
from tests.processes import FORKSERVER
from tests.security import attacks
from tests.security.fuzz_readers import copies
from tests.security.fuzzed import Api, started
from tests.security.schema import Surface, Tally, call_each, call_in_sequences
from tests.security.support import OTHERS
from tests.service.support import build_model, copy_model

AT_ONCE = 2
WARM_UP = 70  # uploads before memory is looked at: what is made once is made by then
SETTLE_SECONDS = 6.0  # uvicorn keeps an idle connection for five
DRIFT_BYTES = 20_000_000
SPARE_FILES = 8


def main() -> int:
    wanted = arguments()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder) / "home", requests_per_minute=0)
        model = build_model(Path(folder) / "tiny")
        copy_model(model, settings)
        with started(settings.home, inspection.inspect(FORKSERVER, str(model), None, local=True)) as api:
            problems = [] if wanted.only_schema else mutate(api, Path(folder), wanted)
            problems += drive(api.surface, 2, 2, wanted.seed + 1)
            before = held(api)
            problems += drive(api.surface, wanted.examples, wanted.sequences, wanted.seed)
            if not wanted.only_schema:  # without the uploads, what is made once is not made by then
                problems += drifted("requests by the schema", before, held(api))
            if not (alive := httpx.get(f"{api.surface.url}/healthz", timeout=120).is_success):
                problems.append("the API does not answer")
            print(f"API {'up' if alive else 'DOWN'}, at most {api.peak() / 1e6:.0f} MB")
    for problem in problems[:20]:
        print("PROBLEM", problem)
    return int(bool(problems))


def mutate(api: Api, folder: Path, wanted: argparse.Namespace) -> list[str]:
    """Give mutants of uploads to their reader and to the API, then mutants of files to what reads them."""
    problems = read_copies(wanted.reads, wanted.seed)
    upload(api, max(WARM_UP, wanted.uploads // 10), wanted.seed + 1)
    before = held(api)
    problems += upload(api, wanted.uploads, wanted.seed)
    problems += drifted("uploads", before, held(api))
    return problems + read_files(folder, wanted.files, wanted.seed)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description="Fuzzes a service of its own.")
    parser.add_argument("--reads", type=int, default=20_000, help="copies of data sets to the reader itself")
    parser.add_argument("--uploads", type=int, default=4_000, help="mutants of data sets, archives and images")
    parser.add_argument("--files", type=int, default=6_000, help="mutants of safetensors files and checkpoints")
    parser.add_argument("--examples", type=int, default=40, help="requests for each call, caller and kind")
    parser.add_argument("--sequences", type=int, default=40, help="sequences of twenty calls, for each caller")
    parser.add_argument("--only-schema", action="store_true", help="leave the mutants out")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


@dataclass(frozen=True)
class Held:
    """What the process of the API holds while nobody asks for anything."""

    memory: int
    files: int
    children: int


def held(api: Api) -> Held:
    """Once connections that were closed are gone from it too."""
    time.sleep(SETTLE_SECONDS)
    return Held(api.memory(), api.files(), api.children())


def drifted(during: str, before: Held, after: Held) -> list[str]:
    """Memory is flat where what it holds after the warm-up is what it holds at the end; files and processes as well."""
    grown = after.memory - before.memory
    print(
        f"the API during {during}: {before.memory / 1e6:.0f} MB after the warm-up, {after.memory / 1e6:.0f} MB after; "
        f"open files {before.files}, {after.files}; processes {before.children}, {after.children}",
        flush=True,
    )
    problems = [] if grown <= DRIFT_BYTES else [f"memory grew by {grown / 1e6:.0f} MB during {during}"]
    if after.files > before.files + SPARE_FILES:
        problems.append(f"{after.files - before.files} files stayed open during {during}")
    return problems + ([f"{after.children} processes are left"] if after.children > before.children else [])


def read_copies(count: int, seed: int) -> list[str]:
    """Run the reader on copies of files in a process of its own, which a crash of the reader would end."""
    command = [sys.executable, "-m", "tests.security.fuzz_readers", "--count", str(count), "--seed", str(seed)]
    code = subprocess.run(command, check=False).returncode
    return [f"the reader of uploads ended with {code}"] if code else []


def upload(api: Api, count: int, seed: int) -> list[str]:
    """Send copies of every kind that is accepted, damaged or odd; delete what is taken."""
    began, statuses, problems = time.monotonic(), Counter[str](), list[str]()
    with httpx.Client(base_url=api.surface.url, headers=api.surface.headers("submit"), timeout=300) as client:

        def send(item: tuple[str, bytes]) -> tuple[str, httpx.Response]:
            answer = client.post("/datasets", params={"new": "true"}, files={"file": item})
            if answer.status_code == 201:
                client.delete(f"/datasets/{answer.json()['id']}")
            return item[0], answer

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for name, answer in pool.map(send, islice(copies(seed), count)):
                code = "taken" if answer.status_code == 201 else answer.json()["error"]["code"]
                statuses[f"{answer.status_code} {code}"] += 1
                if answer.status_code not in (201, 413, 422) or code == UNREADABLE:
                    problems.append(f"{name}: {answer.status_code} {answer.text[:200]}")
    show(f"{count:,} mutants of data sets, archives and images", statuses, began)
    return problems


def read_files(folder: Path, count: int, seed: int) -> list[str]:
    """Mutants of an adapter's weights, with and without a manifest, and of a checkpoint's files."""
    from safetensors.torch import save
    from torch import arange

    from adamss_core.adapter_files import WEIGHTS, read_weights
    from adamss_core.errors import AdamssError
    from adamss_core.training.checkpoints import CheckpointStore

    began, found, problems = time.monotonic(), Counter[str](), list[str]()
    content = save({"a.weight": arange(64.0).reshape(8, 8), "b.weight": arange(8)}, {"format": "pt"})
    (adapter := folder / "adapter").mkdir()
    store = CheckpointStore(folder / "checkpoints", keep=2)
    step = store.write(1, lambda place: _fill(place, content))
    parts = sorted(path for path in step.iterdir() if path.is_file())
    originals = {path: path.read_bytes() for path in parts}
    mutants = attacks.mutants(content, count, seed)
    sources = {path: attacks.mutants(originals[path], count, seed) for path in parts}
    for number, part in zip(range(count), cycle([None, *parts]), strict=False):
        try:
            if part is None:
                (adapter / WEIGHTS).write_bytes(next(mutants))
                found["adapter taken" if read_weights(adapter) is not None else ""] += 1
                continue
            part.write_bytes(mutant := next(sources[part]))
            problem = store.problem(1)
            found["checkpoint refused" if problem else "checkpoint taken"] += 1
            if problem is None and mutant != originals[part] and part.name != "checkpoint.json":
                problems.append(f"mutant {number} of {part.name} was taken for the original")
            part.write_bytes(originals[part])
        except AdamssError:
            found["adapter refused"] += 1
        except Exception as error:
            problems.append(f"mutant {number} of {part or WEIGHTS}: {error!r}")
    show(f"{count:,} mutants of adapters and checkpoints", found, began)
    return problems


def _fill(place: Path, content: bytes) -> None:
    (place / "optimizer.safetensors").write_bytes(content)
    (place / "state.json").write_text('{"step": 1, "epoch": 0.5}')


def drive(surface: Surface, examples: int, sequences: int, seed: int) -> list[str]:
    """The schema, as everybody."""
    problems = []
    for key in ("admin", None, OTHERS, "read"):
        began, tally = time.monotonic(), Tally()
        call_each(surface, key, examples, seed, tally)
        call_in_sequences(surface, key, runs=sequences, steps=20, number=seed, tally=tally)
        caller = key or "nobody"
        show(f"{tally.statuses.total():,} requests to {len(tally.operations)} calls as {caller}", tally.statuses, began)
        problems += [f"as {caller}: {problem}" for problem in tally.problems]
    return problems


def show(what: str, counts: Counter[Any], began: float) -> None:
    seconds = time.monotonic() - began
    print(
        f"{what}, {seconds:.0f} s: " + ", ".join(f"{count:,} {name}" for name, count in counts.most_common()),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
