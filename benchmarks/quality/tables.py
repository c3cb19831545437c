"""Tables of the finished pieces: each contender beside LoRA of rank 1, paired by seed and row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.quality.contenders import CONTENDERS
from benchmarks.quality.data import TASKS, Task, load
from benchmarks.quality.pieces import Results, unpack

REFERENCE = "LoRA r=1"
DRAWINGS = 2_000
LEVEL = (2.5, 97.5)


@dataclass(frozen=True)
class Line:
    """One contender on one task.

    Attributes:
        share: published elements of A and B, of those of LoRA r=1 on query and value.
        score: mean over the seeds.
        gain: over the reference on the same seeds and rows, with the bounds of its 95 % interval; None where no seed
            of the reference is done.
    """

    contender: str
    share: float
    peak: int
    published: int
    rate: float
    seeds: int
    score: float
    gain: tuple[float, float, float] | None


def lines(results: Results, task: Task, share: float, reference: str = REFERENCE) -> list[Line]:
    """Return a line for each contender with a reported run, in the order of the field."""
    targets = load(task, task.base.folder(), share)["test"].targets.numpy()
    values = {name: _outputs(results, task, name) for name in CONTENDERS}
    made = []
    for name, runs in values.items():
        if not runs:
            continue
        entries = results.of(task.name, name, "test")
        common = [seed for seed in runs if seed in values[reference]]
        gain = None
        if common and name != reference:
            ours, theirs = (np.stack([values[one][seed] for seed in common]) for one in (name, reference))
            gain = paired(task, ours, theirs, targets)
        first = entries[0]
        made.append(
            Line(
                name,
                first["published"] / task.base.full,
                first["peak"],
                first["published"],
                first["rate"],
                len(runs),
                float(np.mean([entry["score"] for entry in entries])),
                gain,
            )
        )
    return made


def _outputs(results: Results, task: Task, name: str) -> dict[int, Any]:
    return {entry["seed"]: unpack(entry["outputs"]) for entry in results.of(task.name, name, "test")}


def paired(task: Task, ours: Any, theirs: Any, targets: Any, drawings: int = DRAWINGS) -> tuple[float, float, float]:
    """Return the mean difference of the scores and its 95 % interval, drawing seeds and rows with repetition.

    Args:
        ours, theirs: (seeds, rows) outputs of the same seeds on the same rows.
        targets: (rows,).
    """
    generator = np.random.default_rng(0)
    seeds, rows = ours.shape
    differences = []
    for _ in range(drawings):
        chosen = generator.integers(0, seeds, seeds)
        places = generator.integers(0, rows, rows)
        differences.append(_difference(task, ours[chosen][:, places], theirs[chosen][:, places], targets[places]))
    low, high = np.percentile(differences, LEVEL)
    return _difference(task, ours, theirs, targets), float(low), float(high)


def _difference(task: Task, ours: Any, theirs: Any, targets: Any) -> float:
    return float(np.mean(_scores(task, ours, targets) - _scores(task, theirs, targets)))


def _scores(task: Task, outputs: Any, targets: Any) -> Any:
    """Return the score of each seed, (seeds,), in percent."""
    if not task.goal.is_number:
        return 100 * ((outputs > 0) == task.goal.signs(targets)).mean(1)
    centred, wanted = outputs - outputs.mean(1, keepdims=True), targets - targets.mean()
    scale = np.sqrt((centred**2).sum(1) * (wanted**2).sum())
    return 100 * (centred * wanted).sum(1) / np.where(scale > 0, scale, 1)


def table(task: Task, found: Sequence[Line], reference: str = REFERENCE) -> str:
    """Render the lines of a task as Markdown."""
    head = ["contender", "elements", "of LoRA r=1", "rate", "seeds", task.measure, f"beside {reference} (95 %)"]
    made = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for line in found:
        gain = "" if line.gain is None else f"{line.gain[0]:+.2f} ({line.gain[1]:+.2f} to {line.gain[2]:+.2f})"
        cells = [line.contender, f"{line.published:,}", f"{line.share:.0%}", f"{line.rate:g}", str(line.seeds)]
        made.append(f"| {' | '.join([*cells, f'{line.score:.2f}', gain])} |")
    return "\n".join(made)


def all_lines(results: Results, share: float, reference: str = REFERENCE) -> dict[str, list[Line]]:
    """Return task -> its lines, for tasks with any run of the reference to report."""
    reported = {task for task in TASKS if results.of(task, reference, "test")}
    return {name: lines(results, task, share, reference) for name, task in TASKS.items() if name in reported}


def report(found_of: dict[str, list[Line]], share: float = 1.0, reference: str = REFERENCE) -> str:
    """Render all tasks as Markdown."""
    parts = []
    for name, found in found_of.items():
        task = TASKS[name]
        train, tune, test = (f"{max(8, round(size * share)):,}" for size in (task.train, task.tune, task.test))
        sizes = f"{task.base.name}: {train} rows trained on, {tune} to tune on, {test} reported."
        parts.append(f"### {task.name}\n\n{sizes}\n\n{table(task, found, reference)}")
    return "\n\n".join(parts) + "\n"
