"""`make bench-quality`: quality per parameter beside LoRA, on texts, images and answers, in pieces that resume.

Usage: python -m benchmarks.quality [--tasks NAME ...] [--contenders NAME ...] [--processes N] [--device NAME]
                                    [--seconds N] [--results FILE] [--summary FILE] [--picture FILE] [--share X]
                                    [--reference NAME]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.quality import images
from benchmarks.quality.contenders import CONTENDERS
from benchmarks.quality.data import TASKS
from benchmarks.quality.picture import draw
from benchmarks.quality.pieces import Results, Setting, reported, run_all, tuning
from benchmarks.quality.tables import REFERENCE, Line, all_lines, report
from benchmarks.report import environment

RESULTS = Path(__file__).parents[1] / "results" / "quality.jsonl"
HOURS = 6


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    results = Results(options.results)
    setting = Setting(options.device, options.share)
    until = time.monotonic() + options.seconds
    print(", ".join(f"{name} {value}" for name, value in environment().items()), flush=True)
    for name in [name for name in TASKS if name not in options.tasks]:
        print(f"{name} is left out" + ("" if TASKS[name].file else f"; its images are looked for in {images.FOLDER}"))
    run_all(tuning(options.tasks, options.contenders), results, setting, options.processes, until)
    run_all(reported(results, options.tasks, options.contenders), results, setting, options.processes, until)
    found = all_lines(results, setting.share)
    print(report(found, setting.share))
    if options.reference != REFERENCE:
        print(report(all_lines(results, setting.share, options.reference), setting.share, options.reference))
    if options.summary is not None:
        found = {**_read(options.summary), **found}
        options.summary.write_text(json.dumps({name: [asdict(one) for one in some] for name, some in found.items()}))
    if options.picture is not None:
        options.picture.write_text(draw([(f"{name}: {TASKS[name].measure}", some) for name, some in found.items()]))


def _read(summary: Path) -> dict[str, list[Line]]:
    """Return the tasks of an earlier summary: those that are not measured now stay."""
    known = json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {}
    return {name: [Line(**line) for line in lines] for name, lines in known.items()}


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.partition("\n")[0])
    there = [name for name, task in TASKS.items() if task.file or images.FOLDER.is_dir()]
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=there, metavar="NAME")
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--processes", type=int, default=2, help="runs side by side")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=HOURS * 3600, help="begin no run after these")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE", help="finished runs; it goes on there")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="where the lines of the tables go, as JSON")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="where a picture of them goes, as SVG")
    parser.add_argument("--reference", default=REFERENCE, metavar="NAME", help="print tables beside this one too")
    parser.add_argument("--share", type=float, default=1.0, help="use only this share of the rows")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
