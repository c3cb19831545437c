"""`make bench-scale`: processor time of calls in a full database beside an almost empty one, and waits beside MLflow's.

Usage: python -m benchmarks.scale [--databases NAME ...] [--share X] [--repeats N] [--mlflow PYTHON] [--json FILE]
                                  [--document FILE]

Each call is made on both databases in turn, so that other work on the machine meets both alike. Measured is what the
API process and the database's server compute. MLflow is measured where an interpreter has it: pip install mlflow.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.documents import as_markdown, replace_table
from benchmarks.report import Limit, Section, write_json
from benchmarks.scale.calls import calls
from benchmarks.scale.filling import DELETED, Size
from benchmarks.scale.mlflow_peer import beside_mlflow, find_mlflow
from benchmarks.scale.target import running_target

SMALL = Size(jobs=1_000, rows_per_job=10, events_per_job=10, long=5_000)
LARGE = Size(jobs=100_000, rows_per_job=98, events_per_job=10, long=100_000)
GOAL = 1.5  # times the processor time in the small database
RESULTS = Path(__file__).parents[2] / "docs" / "measurements" / "scale.json"


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    warnings.simplefilter("ignore")
    large = shrunk(LARGE, options.share)
    sections: list[Section] = []
    for kind in options.databases:
        sections.append(compare(kind, large, options.repeats))
        write_json(options.json, sections, small=str(SMALL), large=str(large))  # whatever becomes of the next one
    if (python := find_mlflow(options.mlflow)) is not None:
        sections.append(beside_mlflow(python, large, options.repeats))
        write_json(options.json, sections, small=str(SMALL), large=str(large))
    else:
        print("MLflow is not measured: no interpreter has it (pip install mlflow; --mlflow PYTHON).")
    if options.document is not None:
        tables = [f"{one.title}. {'; '.join(one.notes)}.\n\n{as_markdown(one)}" for one in sections]
        replace_table(options.document, "scale", "\n\n".join(tables))
    missed = [limit.name for section in sections for limit in section.limits if not limit.ok]
    print(json.dumps({"missed": missed}))


def shrunk(size: Size, share: float) -> Size:
    """Return a share of the jobs, and of the rows of long jobs; at least those of the small database."""
    jobs, rows = (max(least, round(share * most)) for least, most in ((SMALL.jobs, size.jobs), (SMALL.long, size.long)))
    return Size(jobs, size.rows_per_job, size.events_per_job, rows)


def compare(kind: str, large: Size, repeats: int) -> Section:
    """Measure every call on a small and on a large database of one kind, in turn."""
    section = Section(f"{kind}: processor time of a call", ["call", "small, ms", "large, ms", "ratio"])
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(TemporaryDirectory())) for _ in range(2)]
        targets = [
            stack.enter_context(running_target(folder, size, kind))
            for folder, size in zip(folders, (SMALL, large), strict=True)
        ]
        section.notes = [f"{name}: {one.size}" for name, one in zip(("small", "large"), targets, strict=True)]
        print(f"{kind}: filled in {targets[1].seconds:.0f} s", flush=True)
        both = [calls(target) for target in targets]
        for name in both[0]:
            times: list[list[float]] = [[], []]
            for _ in range(min(repeats, DELETED) + 1):
                for place, made in enumerate(both):
                    times[place].append(made[name]()[0])
            few, many = (median(found[1:]) for found in times)  # the first of each warms up
            section.rows.append([name, few, many, many / few])
            section.limits.append(Limit(f"{kind}, {name}", many / few, GOAL))
            print(*section.rows[-1], flush=True)
    print(section.render(), flush=True)
    return section


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.partition("\n")[0])
    kinds = ["sqlite", "postgresql"]
    parser.add_argument("--databases", nargs="*", choices=kinds, default=kinds, metavar="NAME")
    parser.add_argument("--share", type=float, default=1.0, help="of the jobs and rows of the large database")
    parser.add_argument("--repeats", type=int, default=15, help="of each call, whose median counts")
    parser.add_argument("--mlflow", type=Path, default=Path(sys.executable), metavar="PYTHON", help="that has MLflow")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    parser.add_argument("--document", type=Path, metavar="FILE", help="whose tables are replaced")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
