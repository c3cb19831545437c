"""Survey the rows of a data set for a job: count the usable ones and their classes, and say why others are not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from adamss_core.spec import JobSpec, record_of
from adamss_core.spec.cells import Unusable
from adamss_core.spec.labels import class_name
from adamss_core.spec.survey import MAX_CLASSES, Survey
from adamss_core.spec.tasks.base import NESTED
from service.shared.database.tables import Dataset
from service.shared.storage.host_files import HostFiles

NOT_READ = {"train", "eval", "test", "eval_fraction", "group", "max_rows"}  # fields that change nothing in a row
CACHED = 64  # surveys that are remembered; data sets never change


def survey_rows(
    files: HostFiles, spec: JobSpec, dataset: Dataset, known_classes: frozenset[str] | None = None
) -> Survey:
    """Read the numbers from the profile where that has them all, else count the rows.

    Args:
        dataset: has the job's columns.
        known_classes: of the training data, when `dataset` is to evaluate on.
    """
    columns = {column["name"]: column for column in dataset.profile["columns"]}
    record = record_of(spec)
    names = record.columns(spec)
    has_gaps = any(columns[name]["empty"] or columns[name]["type"] in (*NESTED, "mixed") for name in names.values())
    if record.is_profiled and record.target is not None and not has_gaps:
        values = columns[names[record.target]]["values"]
        if values is not None:
            return _from_counts(Counter(values), known_classes)
    block = spec.dataset.model_dump_json(exclude=NOT_READ)
    rows, images = files.dataset(dataset.id)
    return _survey(rows, images, spec.task, spec.problem_type, block, known_classes)


def _from_counts(counts: Counter[str], known_classes: frozenset[str] | None) -> Survey:
    names: Counter[str] = Counter()
    for text, rows in counts.items():  # profiles of older uploads list a class as it was written
        names[class_name(text)] += rows
    counts = names
    unknown = sum(rows for name, rows in counts.items() if known_classes is not None and name not in known_classes)
    return Survey(counts.total(), labels=counts, unknown=unknown)


@lru_cache(CACHED)
def _survey(
    path: Path, images: Path, task: str, problem_type: str | None, block: str, known_classes: frozenset[str] | None
) -> Survey:
    data = json.loads(block) | {"train": "ds_" + "x" * 8}
    spec = JobSpec.model_validate(
        {"name": "survey", "base_model": "survey", "task": task, "problem_type": problem_type, "dataset": data}
    )
    record = record_of(spec)
    read = record.reader(spec)
    usable = unknown = 0
    labels: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    numbers: list[float] = []
    for row in _rows(path):
        try:
            cells = read(row)
            record.check_files(cells, images)
        except Unusable as reason:
            left_out[str(reason)] += 1
            continue
        usable += 1
        if (number := record.number_of(cells)) is not None:
            numbers.append(number)
        classes = record.classes_of(cells)
        unknown += known_classes is not None and not known_classes.issuperset(classes)
        labels.update(name for name in classes if name in labels or len(labels) <= MAX_CLASSES)
    mean, spread = (fmean(numbers), pstdev(numbers)) if numbers else (0.0, 0.0)
    return Survey(usable, left_out, labels, unknown, mean, spread)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
