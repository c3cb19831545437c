"""Lengths of a data set's rows in a model's tokens, and the largest batch that they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from adamss_core.spec.facts import ModelFacts
from adamss_core.spec.job import JobSpec
from adamss_core.spec.tasks import record_on

LengthSource = Literal["measured", "characters", "max_length"]
# Few tokens for texts in English, many for code and other scripts; before the first measurement too many is better.
CHARACTERS_PER_TOKEN, TOKENS_PER_WORD, SPECIAL_TOKENS = 3, 2, 8


class Lengths(BaseModel):
    """Tokens of a sample of rows, uncut.

    Attributes:
        counts: (tokens, rows of that many), the longest first; empty where no length is known.
        limit: tokens that the tokenizer allows at most.
        trained: share of the tokens that have a loss term.
        per_row: examples that a row makes.
    """

    model_config = ConfigDict(frozen=True)

    source: LengthSource
    counts: list[tuple[int, int]] = []
    limit: int | None = None
    trained: float = 1.0
    per_row: float = 1.0

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.counts)

    def longest(self, rows: int, limit: int) -> list[int]:
        """Return the lengths of the `rows` longest rows, cut to a limit; the last is repeated where there are fewer."""
        found: list[int] = []
        for tokens, count in self.counts:
            found += [min(tokens, limit)] * min(count, rows - len(found))
        return found + [found[-1] if found else limit] * (rows - len(found))

    def mean(self, limit: int) -> float:
        """Return the mean tokens of a row, of all its examples, each cut to a limit."""
        if not self.counts:
            return limit
        return self.per_row * sum(min(tokens, limit) * rows for tokens, rows in self.counts) / self.rows

    def over(self, limit: int) -> int:
        """Count the rows that are longer than a limit."""
        return sum(rows for tokens, rows in self.counts if tokens > limit)


UNKNOWN = Lengths(source="max_length")


def lengths_of_characters(longest: int, mean: float, words: bool) -> Lengths:
    """Guess the lengths in tokens from those in characters.

    Args:
        longest, mean: of a row; in words where `words`.
    """
    scale = TOKENS_PER_WORD if words else 1 / CHARACTERS_PER_TOKEN
    most, usual = (round(length * scale) + SPECIAL_TOKENS for length in (longest, mean))
    return Lengths(source="characters", counts=[(most, 1), (usual, 19)] if most > usual else [(most, 20)])


def joined_lengths(parts: Sequence[Lengths], shares: Sequence[float]) -> Lengths:
    """Return the lengths of several data sets' rows together.

    Args:
        shares: rows of each data set in an epoch; a sample stands for so many.
    """
    if len(parts) == 1:
        return parts[0]
    sources: tuple[LengthSource, ...] = ("max_length", "characters", "measured")
    counts: Counter[int] = Counter()
    for part, share in zip(parts, shares, strict=True):
        for tokens, rows in part.counts:
            counts[tokens] += max(1, round(rows * share / part.rows))
    limits = [part.limit for part in parts if part.limit is not None]
    weights = [share / sum(shares) for share in shares]
    return Lengths(
        source=min((part.source for part in parts), key=sources.index),
        counts=sorted(counts.items(), reverse=True),
        limit=min(limits, default=None),
        trained=sum(weight * part.trained for weight, part in zip(weights, parts, strict=True)),
        per_row=sum(weight * part.per_row for weight, part in zip(weights, parts, strict=True)),
    )


@dataclass(frozen=True)
class BatchShape:
    """The largest batch that goes through the model at once.

    Attributes:
        rows: of the model's input; fewer than the job's batch where examples are packed.
        length: tokens of each, padding included.
        trained: share of the tokens that have a loss term.
        decoded: tokens of the decoder for each of the encoder; 1 where the model has one stack.
    """

    rows: int
    length: int
    trained: float = 1.0
    decoded: float = 1.0

    @property
    def tokens(self) -> int:
        return self.rows * self.length


def length_limit(spec: JobSpec, facts: ModelFacts, lengths: Lengths = UNKNOWN) -> int:
    """Return the tokens that an example has at most in training."""
    limit = record_on(spec, facts).tokens_per_example(spec, facts)
    return limit if lengths.limit is None else min(limit, lengths.limit)


def largest_batch(spec: JobSpec, facts: ModelFacts, lengths: Lengths = UNKNOWN, rows: int | None = None) -> BatchShape:
    """Return the batch of the longest rows: rows of like length are put together, and padded to the longest.

    Args:
        rows: of the batch; None takes the job's.
    """
    record, rows = record_on(spec, facts), spec.training.batch_size if rows is None else rows
    limit = length_limit(spec, facts, lengths)
    if not record.has_tokens:
        return BatchShape(rows, limit)
    longest = lengths.longest(rows, limit)
    if record.has_two_stacks:  # whose tokens are those of the longer text, and only completions are trained on
        return BatchShape(rows, longest[0], lengths.trained, lengths.trained)
    if not record.packs(spec):
        return BatchShape(rows, longest[0], lengths.trained)
    total = sum(longest)
    packed = -(-total // limit)
    # Rows are filled up to the limit; examples near it leave each other no room.
    packed = max(packed, sum(length > limit // 2 for length in longest))
    return BatchShape(packed, min(limit, max(longest[0], -(-total // packed))), lengths.trained)
