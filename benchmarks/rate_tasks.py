"""Tasks of which only the learning rates are measured: pairs of texts, several labels, and tags of words.

All are made from the rated tweets and reviews: which of two reviews is the better one, whether a review is positive
and whether it is strong, and which words of a tweet were written with a capital, which the encoder does not see.
"""

from __future__ import annotations

import csv
import random
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer

from benchmarks.quality.bases import ENCODER, TAGGER, encoder_folder
from benchmarks.quality.data import FOLDER, SPLIT_SEED, TASKS, Rows, Task
from benchmarks.quality.goals import CLASSES, Goal

TRAIN, TUNE = 1_500, 1_000
MAX_LENGTH = 48
STRONG = 1.5  # |rating|
IGNORED = -100


def load(name: str, share: float = 1.0) -> tuple[Task, dict[str, Rows]]:
    """Return a task and its parts "train" and "tune".

    Args:
        share: of the rows that is used.
    """
    records = _records("tweets.csv" if name == "tokens" else "movie_reviews.csv")
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    base = TAGGER if name == "tokens" else ENCODER
    items, targets = MAKERS[name](records, tokenizer)
    train, tune = (max(8, round(size * share)) for size in (TRAIN, TUNE))
    task = Task(name, base, GOALS[name], None, train, tune, 0, MAX_LENGTH)
    rows = Rows(items, targets, base)
    return task, {"train": rows.some(list(range(train))), "tune": rows.some(list(range(TRAIN, TRAIN + tune)))}


def _records(file: str) -> list[dict[str, str]]:
    with (FOLDER / file).open(newline="", encoding="utf-8") as source:
        records = list(csv.DictReader(source))
    random.Random(SPLIT_SEED).shuffle(records)
    return records


def _ratings(records: list[dict[str, str]]) -> Tensor:
    return torch.tensor([float(record["sentiment"]) for record in records])


def _single(records: list[dict[str, str]], tokenizer: Any) -> list[Any]:
    return list(tokenizer([record["text"] for record in records], truncation=True, max_length=MAX_LENGTH)["input_ids"])


def _classes(records: list[dict[str, str]], tokenizer: Any) -> tuple[list[Any], Tensor]:
    return _single(records, tokenizer), (_ratings(records) > 0).float()


def _numbers(records: list[dict[str, str]], tokenizer: Any) -> tuple[list[Any], Tensor]:
    return _single(records, tokenizer), _ratings(records) / 2


def _pairs(records: list[dict[str, str]], tokenizer: Any) -> tuple[list[Any], Tensor]:
    first, second = records[0::2], records[1::2]
    texts = [[record["text"] for record in some[: len(second)]] for some in (first, second)]
    ids = tokenizer(*texts, truncation=True, max_length=2 * MAX_LENGTH)["input_ids"]
    return list(ids), (_ratings(first[: len(second)]) > _ratings(second)).float()


def _labels(records: list[dict[str, str]], tokenizer: Any) -> tuple[list[Any], Tensor]:
    ratings = _ratings(records)
    return _single(records, tokenizer), torch.stack([ratings > 0, ratings.abs() > STRONG], 1).float()


def _tags(records: list[dict[str, str]], tokenizer: Any) -> tuple[list[Any], Tensor]:
    """Tag the first token of each word: 1 where it begins with a capital."""
    words = [record["text"].split() for record in records]
    coded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=MAX_LENGTH)
    tags = torch.full((len(words), MAX_LENGTH), IGNORED)
    for row, some in enumerate(words):
        seen: set[int | None] = {None}
        for place, word in enumerate(coded.word_ids(row)):
            if word not in seen:
                seen.add(word)
                tags[row, place] = int(some[word][0].isupper())
    return list(coded["input_ids"]), tags


MAKERS = {"classes": _classes, "numbers": _numbers, "pairs": _pairs, "labels": _labels, "tokens": _tags}


class Counted(Goal):
    """Goal of several answers a row, each yes or no; its values are counts (n, 3) of right, wrong and missed yes."""

    def score(self, values: Tensor, targets: Tensor) -> float:
        """Return F1 in percent."""
        right, wrong, missed = values.sum(0).tolist()
        return 100 * 2 * right / max(1, 2 * right + wrong + missed)


def _label_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs.float(), targets)


def _tag_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs.float().flatten(0, 1), targets[:, : outputs.shape[1]].flatten().long())


def _count(found: Tensor, wanted: Tensor, asked: Tensor) -> Tensor:
    pairs = ((found & wanted, found & ~wanted, ~found & wanted)[i] & asked for i in range(3))
    return torch.stack([some.sum(1) for some in pairs], 1).float()


def _label_counts(outputs: Tensor, targets: Tensor) -> Tensor:
    return _count(outputs > 0, targets > 0, torch.ones_like(targets, dtype=torch.bool))


def _tag_counts(outputs: Tensor, targets: Tensor) -> Tensor:
    tags = targets[:, : outputs.shape[1]]
    return _count(outputs.argmax(-1) == 1, tags == 1, tags != IGNORED)


GOALS = {
    "classes": CLASSES,
    "numbers": TASKS["reviews-numbers"].goal,
    "pairs": CLASSES,
    "labels": Counted("F1 %", 2, _label_loss, _label_counts),
    "tokens": Counted("F1 %", 2, _tag_loss, _tag_counts),
}
