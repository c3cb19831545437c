"""The tasks: base, goal, and rows to train on, to tune on, and to report; batches of them."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from benchmarks.quality.bases import DECODER, ENCODER, VISION, Base
from benchmarks.quality.goals import CLASSES, MANY_CLASSES, NUMBERS, Goal, word
from benchmarks.quality.images import read_images, to_pixels

FOLDER = Path(__file__).parents[2] / "examples" / "data"
SPLIT_SEED = 20_261_127
QUESTION = "Review: {}\nThis review is"
END = 102  # of a text, for BERT
WORDS, WORD_IDS = (" negative", " positive"), (3524, 2731)


@dataclass(frozen=True)
class Task:
    """Describe what is learned from which rows.

    Attributes:
        file: of rated texts in the folder of the examples; None for images.
        train, tune, test: rows of each part.
        max_length: of a text in tokens.
        batch, epochs: of every contender alike.
    """

    name: str
    base: Base
    goal: Goal
    file: str | None
    train: int
    tune: int
    test: int
    max_length: int = 64
    batch: int = 32
    epochs: int = 2

    @property
    def measure(self) -> str:
        return self.goal.measure


@dataclass(frozen=True)
class Rows:
    """Rows as lists of token ids or as images, with the values to learn, (n, ...)."""

    items: list[Any]
    targets: Tensor
    base: Base = ENCODER
    batch: int = 32

    def __len__(self) -> int:
        return len(self.items)

    def some(self, places: list[int]) -> Rows:
        return Rows([self.items[i] for i in places], self.targets[places], self.base, self.batch)


TASKS = {
    task.name: task
    for task in (
        Task("reviews", ENCODER, CLASSES, "movie_reviews.csv", 3_000, 1_000, 2_500),
        Task("reviews-numbers", ENCODER, NUMBERS, "movie_reviews.csv", 3_000, 1_000, 2_500),
        Task("tweets", ENCODER, CLASSES, "tweets.csv", 2_000, 600, 1_600),
        Task("images", VISION, MANY_CLASSES, None, 1_500, 800, 2_500),
        Task("answers", DECODER, word(*WORD_IDS), "movie_reviews.csv", 768, 600, 1_500, 40, 16, 1),
    )
}


@lru_cache(8)
def load(task: Task, folder: Path, share: float = 1.0) -> dict[str, Rows]:
    """Return part -> rows. No row is in two parts, and the parts are the same on every machine.

    Args:
        folder: of the base model, with its tokenizer.
        share: of each part that is used.
    """
    sizes = {"train": task.train, "tune": task.tune, "test": task.test}
    items, targets = _images(sum(sizes.values())) if task.file is None else _texts(task, folder, sum(sizes.values()))
    parts, begin = {}, 0
    for name, size in sizes.items():
        places = list(range(begin, begin + max(8, round(size * share))))
        parts[name] = Rows(items, targets, task.base, task.batch).some(places)
        begin += size
    return parts


def _images(count: int) -> tuple[list[Any], Tensor]:
    images, labels = read_images()
    chosen = random.Random(SPLIT_SEED).sample(range(len(images)), count)
    return list(images[chosen]), labels[chosen].float()


def _texts(task: Task, folder: Path, count: int) -> tuple[list[Any], Tensor]:
    with (FOLDER / str(task.file)).open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    random.Random(SPLIT_SEED).shuffle(records)
    records = records[:count]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ratings = torch.tensor([float(record["sentiment"]) for record in records])
    texts = [record["text"] for record in records]
    if task.base is DECODER:
        if tuple(tokenizer(list(WORDS))["input_ids"]) != tuple([one] for one in WORD_IDS):
            raise SystemExit("The tokenizer has other tokens than the benchmark's words.")
        texts = [QUESTION.format(_shortened(text, tokenizer, task.max_length)) for text in texts]
    ids = tokenizer(texts, truncation=task.base is ENCODER, max_length=task.max_length)["input_ids"]
    return ids, ratings / 2 if task.goal.is_number else (ratings > 0).float()


def _shortened(text: str, tokenizer: Any, length: int) -> str:
    """Cut a text, for the question behind it to stay whole."""
    found: str = tokenizer.decode(tokenizer(text)["input_ids"][:length])
    return found


def batches(rows: Rows, seed: int | None, device: torch.device) -> Iterator[tuple[dict[str, Any], Tensor, list[int]]]:
    """Yield inputs, targets and positions of padded batches of similar lengths; shuffled with a seed, else sorted."""
    order = list(range(len(rows)))
    shuffle = random.Random(seed)
    if seed is not None:
        shuffle.shuffle(order)
    window = 20 * rows.batch if seed is not None else len(order)  # rows that are sorted by length together
    windows = (order[start : start + window] for start in range(0, len(order), window))
    order = [i for part in windows for i in sorted(part, key=lambda j: len(rows.items[j]))]
    size = rows.batch if seed is not None else 8 * rows.batch
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    if seed is not None:
        shuffle.shuffle(groups)
    for group in groups:
        yield _inputs(rows.base, [rows.items[i] for i in group], device), rows.targets[group].to(device), group


def _inputs(base: Base, items: list[Any], device: torch.device) -> dict[str, Any]:
    if base is VISION:
        return {"pixel_values": to_pixels(torch.stack(items)).to(device)}
    left = base is DECODER  # its answer is read at the last place
    longest = max(map(len, items))
    ids = torch.zeros(len(items), longest, dtype=torch.long)  # 0 is BERT's padding; masked, any will do
    mask = torch.zeros_like(ids)
    for row, seen, item in zip(ids, mask, items, strict=True):
        place = slice(longest - len(item), longest) if left else slice(0, len(item))
        row[place] = torch.tensor(item)
        seen[place] = 1
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
    if left:
        return {**inputs, "logits_to_keep": 1}
    ends = (ids == END).long()
    return {**inputs, "token_type_ids": ((ends.cumsum(1) > ends) * mask).to(device)}  # 1 for the second of two texts
