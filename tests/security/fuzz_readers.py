"""Damaged and odd copies of every kind of file, given to the reader of uploads in this process, hundreds a second.

    python -m tests.security.fuzz_readers --count 20000 [--seed 0] [--keep FOLDER]

It ends with 1 where a file is neither read nor refused in words, or where what is kept is not what its profile says. A
reader that crashes ends it by a signal: `--keep` names the folder in which the file at fault is then found.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from service.datasets.convert import ROWS, SPLITS, Conversion, convert_upload
from service.shared.errors import ServiceError
from tests.security import attacks
from tests.security.odd_values import odd_copies
from tests.service.datasets.format_examples import EXAMPLES

LIMIT = 64 * 2**20
SLOW_SECONDS = 5.0  # of CPU, for some kilobytes


def every_kind() -> dict[str, bytes]:
    """Return one good file of every kind that is accepted, by a name of its own."""
    examples = {f"{kind}.{name.rpartition('.')[2]}": content for kind, (name, content) in EXAMPLES.items()}
    return attacks.good_files() | attacks.more_good_files() | examples


def copies(seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield copies of all kinds in turns, without end."""
    for number in count(seed * 1_000_003):
        for name, content in every_kind().items():
            for copy in (*attacks.mutants(content, 1, number), *odd_copies(name, content, 1, number)):
                yield name, copy


def read(name: str, content: bytes) -> str:
    """Read one file; return "taken" or the code of the refusal.

    Raises:
        AssertionError: what is kept is not what the profile says.
    """
    with TemporaryDirectory() as folder:
        try:
            result = convert_upload(Conversion(name, LIMIT, 4 * LIMIT, 0, 0), Path(folder), io.BytesIO(content))
        except ServiceError as error:
            return error.code
        json.dumps(result)
        for number, split in enumerate(result.get("splits", {}).values()):
            check(split, Path(folder) / SPLITS / str(number))
        if "splits" not in result:
            check(result, Path(folder))
    return "taken"


def check(result: dict[str, Any], folder: Path) -> None:
    """Compare the rows that are kept with the profile."""
    names = {column["name"] for column in result["profile"]["columns"]}
    rows = [json.loads(line) for line in (folder / ROWS).read_bytes().splitlines()]
    assert len(rows) == result["rows"]
    assert all(row.keys() == names for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz_readers")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files at fault")
    wanted = parser.parse_args()
    began, codes, faults = time.monotonic(), Counter[str](), list[str]()
    for number, (name, content) in enumerate(islice(copies(wanted.seed), wanted.count)):
        if wanted.keep is not None:
            path = wanted.keep / f"{number}-{name}"
            path.write_bytes(content)
        begin = time.process_time()
        try:
            codes[read(name, content)] += 1
        except Exception as error:
            faults.append(f"copy {number} of {name}: {error!r}"[:300])
            traceback.print_exc()
            continue
        if time.process_time() - begin > SLOW_SECONDS:
            faults.append(f"copy {number} of {name} took {time.process_time() - begin:.1f} s")
        elif wanted.keep is not None:
            path.unlink()
    seconds = time.monotonic() - began
    counts = ", ".join(f"{count:,} {code}" for code, count in codes.most_common())
    print(f"{wanted.count:,} copies of {len(every_kind())} files, {seconds:.0f} s: {counts}", flush=True)
    for fault in faults[:20]:
        print("PROBLEM", fault)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
