"""`make bench-adapter`: cost of our adapter compared with LoRA and PEFT's AdaMSS.

Usage: python -m benchmarks.adapter [--quick] [--json FILE] [--threads N]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.layer_cost import SUBSPACES, compiled, layer_time, memory, operations
from benchmarks.report import Section, environment, write_json
from benchmarks.startup import decomposition, second_adapter
from benchmarks.training_step import Encoder, training_step
from benchmarks.variants import Shape

RESULTS = Path(__file__).parent / "results" / "adapter.json"


def measurements(*, quick: bool) -> list[Callable[[], Section]]:
    """Measure all sections; quick ones have fewer points, smaller models and fewer rounds."""
    if quick:
        encoder = Encoder(layers=4)
        return [
            lambda: layer_time((384, 768), (128, 1024), (5, 32), (1,), 1.0),
            lambda: operations(768, 128, SUBSPACES, (1,)),
            lambda: memory(768, 128, (10,), (1,)),
            lambda: compiled(128, 16),
            lambda: training_step(encoder, Shape(768, 10, 1), 9),
            lambda: decomposition((768,), (10,), 6),
            lambda: second_adapter(encoder, 10, 3),
        ]
    return [
        lambda: layer_time((384, 768, 2048), (128, 1024), SUBSPACES, (1, 3), 4.5),
        lambda: operations(768, 128, SUBSPACES, (1, 3)),
        lambda: memory(768, 128, SUBSPACES, (1, 3)),
        lambda: compiled(768, 128),
        lambda: training_step(Encoder(), Shape(768, 10, 1), 15),
        lambda: decomposition((768, 4096), (10, 32), 6),
        lambda: second_adapter(Encoder(), 10, 3),
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapter", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer points, under a minute")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    parser.add_argument("--threads", type=int, help="torch threads; 1 is steadier on a busy machine")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    # One line for each upstream deprecation would bury the tables.
    warnings.simplefilter("ignore")
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    start = time.perf_counter()
    sections = []
    for measure in measurements(quick=options.quick):
        sections.append(measure())
        print(sections[-1].render(), flush=True)
    elapsed = time.perf_counter() - start
    write_json(options.json, sections, quick=options.quick, seconds=elapsed)
    missed = [limit.name for section in sections for limit in section.limits if not limit.ok]
    print(f"\n{elapsed:.0f} s; {'all limits reached' if not missed else 'missed: ' + '; '.join(missed)}")


if __name__ == "__main__":
    main()
