"""What the rows of a data set hold for a job: how many can be used, of which classes, and why others cannot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from adamss_core.spec import JobSpec
from adamss_core.spec.cells import Cells, Unusable, image_path, reader_of
from service.datasets.profiling import MAX_DISTINCT
from service.shared.database.tables import Dataset
from service.shared.settings import Settings

MISSING_IMAGE = "whose image file is missing"
CACHED = 64  # scans that are remembered; data sets never change
NESTED = ("list", "messages")


@dataclass(frozen=True)
class Scan:
    """One pass over a data set's rows.

    Attributes:
        usable: rows with what the job needs.
        left_out: why others have not -> how many.
        labels: class -> rows; stops at one class more than a job may have.
        unknown: usable rows with a class that the training data do not have.
        mean, spread: of the numbers to predict; zero without.
    """

    usable: int
    left_out: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    mean: float = 0.0
    spread: float = 0.0

    @property
    def has_too_many_classes(self) -> bool:
        return len(self.labels) > MAX_DISTINCT


def scan(settings: Settings, spec: JobSpec, dataset: Dataset, known: frozenset[str] | None = None) -> Scan:
    """From the profile where that says it all, else from the rows.

    Args:
        known: classes of the training data, when `dataset` is to evaluate on.
    """
    columns = {column["name"]: column for column in dataset.profile["columns"]}
    names = reader_of(spec).columns
    label = columns[names["label"]] if "label" in names else None
    plain = spec.task == "text-classification" and spec.problem == "single_label_classification"
    whole = not any(columns[name]["empty"] or columns[name]["type"] in NESTED for name in names.values())
    if plain and whole and label is not None and label["values"] is not None:
        counts = Counter(label["values"])
        unknown = sum(rows for name, rows in counts.items() if known is not None and name not in known)
        return Scan(counts.total(), labels=counts, unknown=unknown)
    block = spec.dataset.model_dump_json(exclude={"train", "eval", "eval_fraction"})
    return _scan(settings.files.dataset_rows(dataset.id), spec.task, spec.problem_type, block, known)


@lru_cache(CACHED)
def _scan(path: Path, task: str, problem_type: str | None, block: str, known: frozenset[str] | None) -> Scan:
    data = json.loads(block) | {"train": "ds_" + "x" * 8}
    spec = JobSpec.model_validate(
        {"name": "scan", "base_model": "scan", "task": task, "problem_type": problem_type, "dataset": data}
    )
    read, labels_of = reader_of(spec), _LABELS[task]
    usable = unknown = 0
    labels: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    numbers: list[float] = []
    for row in _rows(path):
        try:
            cells = read(row)
            if "image" in cells:
                _require_image(path.with_suffix(""), cells["image"])
        except Unusable as reason:
            left_out[str(reason)] += 1
            continue
        usable += 1
        if spec.problem == "regression":
            numbers.append(cells["label"])
            continue
        found = labels_of(cells)
        unknown += known is not None and not known.issuperset(found)
        labels.update(name for name in found if name in labels or len(labels) <= MAX_DISTINCT)
    spread = (fmean(numbers), pstdev(numbers)) if numbers else (0.0, 0.0)
    return Scan(usable, left_out, labels, unknown, *spread)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _require_image(folder: Path, name: str) -> None:
    if (path := image_path(folder, name)) is None or not path.is_file():
        raise Unusable(MISSING_IMAGE)


def _text_labels(cells: Cells) -> tuple[str, ...]:
    label = cells["label"]
    return label if isinstance(label, tuple) else (label,)


_LABELS: dict[str, Callable[[Cells], tuple[str, ...]]] = {
    "text-classification": _text_labels,
    "token-classification": lambda cells: tuple(dict.fromkeys(cells["tags"])),
    "image-classification": lambda cells: (cells["label"],),
    "text-generation": lambda _: (),
}
