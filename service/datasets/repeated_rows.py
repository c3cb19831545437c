"""Count rows that repeat: within a data set, where a split may separate them or labels contradict, and between two."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from adamss_core.fileio.exchange import read_order, write_answer
from service.datasets.row_hashes import EMPTY_CELL, RowHashes, empty_row_hash

BUCKETS = 256


@dataclass(frozen=True)
class Overlap:
    """Number of duplicate rows.

    Attributes:
        rows: rows of the examined data.
        repeated: rows also present in the other data; within one data set, rows that repeat an earlier row, or rows of
            equal content under different labels.
    """

    rows: int
    repeated: int


def repeated_within(data: RowHashes, columns: Sequence[str]) -> Overlap:
    """Count rows that repeat an earlier row in `columns`; rows without a value there are not counted."""
    empty = empty_row_hash(len(columns))
    repeated = 0
    for bucket in _buckets(data.of(columns)):
        repeated += len(bucket) - bucket.count(empty) - len(set(bucket) - {empty})
    return Overlap(data.rows, repeated)


def repeated_between(train: RowHashes, evaluation: RowHashes, columns: Sequence[str]) -> Overlap:
    """Count rows of the evaluation data that are also in the training data, rows without a value excepted."""
    empty = empty_row_hash(len(columns))
    train_buckets, eval_buckets = _buckets(train.of(columns)), _buckets(evaluation.of(columns))
    repeated = 0
    for train_hashes, eval_hashes in zip(train_buckets, eval_buckets, strict=True):
        if eval_hashes:
            present = set(train_hashes) - {empty}
            repeated += sum(value in present for value in eval_hashes)
    return Overlap(evaluation.rows, repeated)


def contradicting_within(data: RowHashes, columns: Sequence[str], label: str) -> Overlap:
    """Count rows whose content in `columns` has more than one label; rows without content or label do not count."""
    empty = empty_row_hash(len(columns))
    contradicting = 0
    for contents, labels in zip(*_paired_buckets(data.of(columns), data.of([label])), strict=True):
        rows = [pair for pair in zip(contents, labels, strict=True) if pair[0] != empty and pair[1] != EMPTY_CELL]
        first = dict(reversed(rows))
        several = {content for content, name in rows if first[content] != name}
        contradicting += sum(content in several for content, _ in rows)
    return Overlap(data.rows, contradicting)


def describe_contradiction(found: Overlap, columns: Sequence[str], label: str) -> str:
    named = " and ".join(f"'{name}'" for name in columns)
    return (
        f"{found.repeated:,} of {found.rows:,} rows have the {named} of another row but another '{label}', so no model "
        f"can be right on all of them. Decide on one '{label}' for each."
    )


def first_pairs(data: RowHashes, columns: Sequence[str], limit: int) -> list[tuple[int, int]]:
    """List the first pairs of duplicate row and earlier row, as indices from 0."""
    pairs: list[tuple[int, int]] = []
    for hashes, places in zip(*_paired_buckets(data.of(columns), _places(data.of(columns))), strict=True):
        pairs = sorted([*pairs, *islice(_pairs(hashes, places), limit)])[:limit]
    return pairs


def _places(chunks: Iterable[array[int]]) -> Iterator[array[int]]:
    """Yield, for each chunk, the numbers of its rows, from 0."""
    begin = 0
    for chunk in chunks:
        yield array("Q", range(begin, begin + len(chunk)))
        begin += len(chunk)


def _pairs(hashes: array[int], places: array[int]) -> Iterator[tuple[int, int]]:
    """Yield each row of a bucket that repeats an earlier one, in order, with the first such row."""
    first: dict[int, int] = {}
    for value, place in zip(hashes, places, strict=True):
        if first.setdefault(value, place) != place:
            yield place, first[value]


def compare(paths: Sequence[Path], columns: Sequence[str], label: str | None) -> Overlap:
    """Count repeated rows within one data set, or between two; with `label`, rows of one that contradict each other."""
    train, *rest = (RowHashes(path) for path in paths)
    if label is not None:
        return contradicting_within(train, columns, label)
    return repeated_between(train, rest[0], columns) if rest else repeated_within(train, columns)


def _buckets(chunks: Iterable[array[int]]) -> list[array[int]]:
    """Distribute hashes by their last bits, so that one bucket's set stays small for any number of rows."""
    buckets = [array("Q") for _ in range(BUCKETS)]
    for chunk in chunks:
        for value in chunk:
            buckets[value % BUCKETS].append(value)
    return buckets


def _paired_buckets(
    contents: Iterable[array[int]], labels: Iterable[array[int]]
) -> tuple[list[array[int]], list[array[int]]]:
    """Distribute contents as above, and the label (or number) of each row to the same bucket."""
    buckets = [array("Q") for _ in range(BUCKETS)], [array("Q") for _ in range(BUCKETS)]
    for chunk, names in zip(contents, labels, strict=True):
        for value, name in zip(chunk, names, strict=True):
            buckets[0][value % BUCKETS].append(value)
            buckets[1][value % BUCKETS].append(name)
    return buckets


def main() -> None:
    """Compare large data sets in a child process, so that the API's memory does not grow."""
    folder = Path.cwd()
    order = read_order(folder)
    write_answer(folder, asdict(compare([Path(path) for path in order["paths"]], order["columns"], order["label"])))


if __name__ == "__main__":
    main()
