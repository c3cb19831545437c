"""Equal examples: within a data set, where they fall on both sides of a split, and between training and evaluation."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from adamss_core.fileio.exchange import read_order, write_answer
from service.datasets.fingerprints import Fingerprints, nothing

BUCKETS = 256


@dataclass(frozen=True)
class Overlap:
    """How many rows repeat others.

    Attributes:
        rows: rows of the data that is looked at.
        repeated: of these, rows that are in the other data; within one data set, rows that repeat an earlier one.
    """

    rows: int
    repeated: int


def repeated_within(data: Fingerprints, columns: Sequence[str]) -> Overlap:
    """Rows that repeat an earlier row in these columns; a row without any value in them repeats none."""
    empty = nothing(len(columns))
    buckets = [array("Q", (value for value in bucket if value != empty)) for bucket in _buckets(data.of(columns))]
    return Overlap(data.rows, sum(len(bucket) - len(set(bucket)) for bucket in buckets))


def repeated_between(train: Fingerprints, evaluation: Fingerprints, columns: Sequence[str]) -> Overlap:
    """Rows of the evaluation data that are in the training data as well, those without any value excepted."""
    empty = nothing(len(columns))
    known, asked = _buckets(train.of(columns)), _buckets(evaluation.of(columns))
    repeated = 0
    for theirs, ours in zip(known, asked, strict=True):
        if ours:
            present = set(theirs) - {empty}
            repeated += sum(value in present for value in ours)
    return Overlap(evaluation.rows, repeated)


def first_pairs(data: Fingerprints, columns: Sequence[str], limit: int) -> list[tuple[int, int]]:
    """The first rows that repeat an earlier one, with it; places from 0."""
    twice = {value for bucket in _buckets(data.of(columns)) for value in _twice(bucket)}
    seen: dict[int, int] = {}
    found: list[tuple[int, int]] = []
    place = 0
    for chunk in data.of(columns):
        for value in chunk:
            if value in twice:
                if value in seen:
                    found.append((place, seen[value]))
                    if len(found) >= limit:
                        return found
                else:
                    seen[value] = place
            place += 1
    return found


def _twice(bucket: array[int]) -> set[int]:
    seen: set[int] = set()
    return {value for value in bucket if value in seen or seen.add(value)}  # type: ignore[func-returns-value]


def _buckets(chunks: Iterable[array[int]]) -> list[array[int]]:
    """By the last bits, so that the set of one bucket is small however many rows there are."""
    buckets = [array("Q") for _ in range(BUCKETS)]
    for chunk in chunks:
        for value in chunk:
            buckets[value % BUCKETS].append(value)
    return buckets


def main() -> None:
    """Compare large data sets in a child process, so that the API's memory stays as it is."""
    folder = Path.cwd()
    order = read_order(folder)
    train, *rest = (Fingerprints(Path(path)) for path in order["paths"])
    columns = order["columns"]
    overlap = repeated_between(train, rest[0], columns) if rest else repeated_within(train, columns)
    write_answer(folder, asdict(overlap))


if __name__ == "__main__":
    main()
