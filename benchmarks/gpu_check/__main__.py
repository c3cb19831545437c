"""`make gpu-check`: speed, memory and faults on a machine with a GPU, in at most six minutes.

It needs this repository's files, torch, transformers and peft; a part that needs more says so where that is missing.
Without a GPU it runs a small version of itself.

Usage: python -m benchmarks.gpu_check [--json FILE] [--small] [--seconds N] [--only PART ...]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.machine import REQUIRED, describe, missing
from benchmarks.gpu_check.parts import PLAN, run_all
from benchmarks.gpu_check.process import Launcher, Outcome
from benchmarks.gpu_check.sizes import FULL, SMALL

SECONDS = 350.0  # the rest of six minutes is for starting and ending


def main(arguments: list[str] | None = None) -> int:
    """Print progress, tables and one JSON; 1 where something of ours failed."""
    begun = time.monotonic()
    options = _options(arguments)
    if lacking := missing(REQUIRED):
        print(f"gpu-check needs {', '.join(REQUIRED)}; not installed: {', '.join(lacking)}", file=sys.stderr)
        return 2
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    machine = describe()
    gpu = machine["device"] != "cpu"
    sizes = SMALL if options.small or not gpu else FULL
    _log(", ".join(f"{name} {value}" for name, value in machine.items()))
    outcome = Outcome()
    if sizes.small:
        outcome.left_out.append(("everything at full size", "--small" if options.small else "there is no GPU"))
    with tempfile.TemporaryDirectory() as folder:
        launcher = Launcher(sizes, Path(folder), outcome, "spawn" if gpu else "forkserver", _log)
        run_all(launcher, options.seconds, lambda: begun + options.seconds - time.monotonic(), options.only)
    report = _report(machine, sizes.small, time.monotonic() - begun, outcome)
    _print_tables(outcome)
    text = json.dumps(report, indent=1)
    print(text, flush=True)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 1 if outcome.failed else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON there too")
    parser.add_argument("--small", action="store_true", help="the small version, also on a GPU")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    names = [planned.name for planned in PLAN]
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=f"only these of: {', '.join(names)}")
    return parser.parse_args(arguments)


def _log(line: str) -> None:
    """Progress goes to stderr: stdout has the tables and ends with the JSON."""
    print(line, file=sys.stderr, flush=True)


def _report(machine: dict[str, Any], small: bool, seconds: float, outcome: Outcome) -> dict[str, Any]:
    return {
        "environment": machine,
        "small": small,
        "seconds": round(seconds, 1),
        "sections": [{"title": title, "rows": rows} for title, rows in outcome.rows.items()],
        "left_out": [{"what": what, "why": why} for what, why in outcome.left_out],
        "failed": [{"what": what, "why": why} for what, why in outcome.failed],
    }


def _print_tables(outcome: Outcome) -> None:
    from benchmarks.report import Section  # imports torch

    for title, rows in outcome.rows.items():
        columns = list(dict.fromkeys(name for row in rows for name in row))
        cells = [["-" if row.get(name) is None else row[name] for name in columns] for row in rows]
        print(Section(title, columns, cells).render())
    for heading, entries in (("Left out", outcome.left_out), ("FAILED", outcome.failed)):
        print(f"\n== {heading}: {'nothing' if not entries else ''}")
        for what, why in entries:
            print(f"  {what}: {why}")


if __name__ == "__main__":
    sys.exit(main())
