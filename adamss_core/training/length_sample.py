"""Token lengths of a sample of rows: `python -m adamss_core.training.length_sample`.

Reads its order in the current folder and leaves the answer there, as `adamss_core.training.preview` does; the answer
has the fields of `Lengths`, or {"error": ...}.
"""

from __future__ import annotations

import random
from collections import Counter
from heapq import nlargest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from adamss_core.fileio.exchange import read_order, write_answer
from adamss_core.spec import JobSpec, Lengths
from adamss_core.training.base_model import Source
from adamss_core.training.errors import TrainingError, bad_data, translated_errors
from adamss_core.training.preview import class_names
from adamss_core.training.tasks import task_on

SAMPLE, LONGEST = 2_000, 64  # rows
SEED = 0
UNCUT = 10**9  # tokens


def sampled_lengths(spec: JobSpec, rows: Path, model: str, revision: str | None, sample: int = SAMPLE) -> Lengths:
    """Encode a seeded sample of the rows, and the longest ones, without cutting them.

    Args:
        rows: JSONL with all rows of a data set.
        model: a local folder, or a hub id.

    Raises:
        TrainingError: model or rows do not fit the job.
    """
    task = task_on(spec, model, revision)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sample.jsonl"
        file.write_bytes(b"".join(_sample(rows, sample)))
        read = task.read(file)
    if not len(read):
        raise bad_data("None of the sampled rows can be used.", hint="Name other columns.", where="dataset")
    classes = class_names(read, task.record.target)
    source = Source(model, revision, spec.base_model, tuple(classes))
    processor = task.load_processor(source)
    encoded = task.encode(task.split_rows(read, processor), classes, processor, UNCUT)
    config = AutoConfig.from_pretrained(source.path, **source.options)
    limit = type(task)(_unlimited(spec)).limit(processor, config)
    tokens = int(encoded.lengths.sum())
    return Lengths(
        source="measured",
        counts=sorted(Counter(encoded.lengths.tolist()).items(), reverse=True),
        limit=limit,
        trained=min(1.0, int(encoded.loss_terms.sum()) / tokens),
        per_row=len(encoded) / read.row_count,
    )


def _sample(rows: Path, count: int) -> list[bytes]:
    """Return `count` lines, chosen evenly, and the longest lines, which decide about the largest batch."""
    chosen: list[bytes] = []
    generator = random.Random(SEED)
    with rows.open("rb") as file:
        for number, line in enumerate(file):
            place = number if number < count else generator.randrange(number + 1)
            if place == len(chosen):
                chosen.append(line)
            elif place < count:
                chosen[place] = line
        file.seek(0)
        longest = nlargest(LONGEST, file, key=len)
    return [*chosen, *set(longest).difference(chosen)]


def _unlimited(spec: JobSpec) -> JobSpec:
    return spec.model_copy(update={"training": spec.training.model_copy(update={"max_length": UNCUT})})


def main() -> None:
    folder = Path.cwd()
    order = read_order(folder)
    transformers_logging.set_verbosity_error()
    answer: dict[str, Any]
    try:
        with translated_errors():
            spec = JobSpec.model_validate(order["spec"])
            rows = Path(order["rows"])
            answer = sampled_lengths(spec, rows, order["model"], order["revision"], order["sample"]).model_dump()
    except TrainingError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    write_answer(folder, answer)


if __name__ == "__main__":
    main()
