"""Choose the rows of a job: at most so many, held out by class or group, seen as often as their data set weighs."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from adamss_core.spec.job import DataSources
from adamss_core.spec.split import held_out, repeated, used
from adamss_core.training.errors import TrainingError, bad_data


@dataclass(frozen=True)
class Selection:
    """Positions of the rows that a job uses.

    Attributes:
        train: (n,) to train on, in an epoch; a position may recur.
        evaluation: (m,) held out; empty where the job has evaluation data.
        sets: (s,) entries of `train` of each data set.
        groups: groups trained on and held out; None where rows are not grouped.
    """

    train: list[int]
    evaluation: list[int]
    sets: list[int]
    groups: tuple[int, int] | None = None


def select(
    data: DataSources,
    seed: int,
    numbers: Sequence[int],
    sizes: Sequence[int],
    classes: Sequence[str] | None,
    groups: Sequence[str] | None,
    *,
    holds_out: bool = True,
) -> Selection:
    """Choose by hashes of seed and position, so that the choice is the same on every machine and version.

    Args:
        numbers: (n,) of the rows, from 1, running on through the files.
        sizes: (s,) rows of each file, unusable ones included.
        classes: (n,) by which the choice is stratified; None where rows have no single class.
        groups: (n,) that no two sides share; "" for a row by itself.
        holds_out: whether the job has no evaluation data of their own.

    Raises:
        TrainingError: bad_data, where all rows are of one group.
    """
    ends = list(accumulate(sizes))
    parts = [bisect_right(ends, number - 1) for number in numbers]
    strata = [(part, "" if classes is None else classes[i]) for i, part in enumerate(parts)]
    everything = _first(range(len(numbers)), used(Counter(strata), data.max_rows), strata, f"{seed}:max_rows")
    held: set[int] = set()
    counted: tuple[int, int] | None = None
    if holds_out and groups is not None:
        held, counted = _whole_groups(everything, strata, groups, data, seed)
    elif holds_out:
        counts = held_out(Counter(strata[i] for i in everything), data.eval_fraction)
        held = set(_first(everything, counts, strata, str(seed)))
    train = [i for i in everything if i not in held]
    entries = list(_by_weight(train, parts, data, seed))
    sets = Counter(parts[i] for i in entries)
    return Selection(entries, sorted(held), [sets[part] for part in range(len(sizes))], counted)


def _order(positions: Sequence[int], salt: str) -> list[int]:
    return sorted(positions, key=lambda i: hashlib.sha256(f"{salt}:{i}".encode()).digest())


def _first(
    positions: Sequence[int], counts: dict[tuple[int, str], int], strata: Sequence[tuple[int, str]], salt: str
) -> list[int]:
    """Return so many positions of each stratum, in their order."""
    if sum(counts.values()) == len(positions):
        return list(positions)
    left, chosen = dict(counts), []
    for i in _order(positions, salt):
        if left[strata[i]] > 0:
            left[strata[i]] -= 1
            chosen.append(i)
    return sorted(chosen)


def _by_weight(train: Sequence[int], parts: Sequence[int], data: DataSources, seed: int) -> Iterator[int]:
    """Yield the positions of each data set as often as its weight says: whole copies, and a share by the seed."""
    for part, one in enumerate(data.training_sets):
        own = [i for i in train if parts[i] == part]
        copies, rest = divmod(repeated(len(own), one.weight), max(1, len(own)))
        extra = set(_order(own, f"{seed}:weight")[:rest])
        for i in own:
            yield from [i] * (copies + (i in extra))


def _whole_groups(
    positions: Sequence[int], strata: Sequence[Hashable], groups: Sequence[str], data: DataSources, seed: int
) -> tuple[set[int], tuple[int, int]]:
    """Hold out whole groups, in an order by the seed: those that bring each class closer to its share."""
    members: dict[tuple[str, int], list[int]] = {}
    for i in positions:
        members.setdefault((groups[i], -1) if groups[i] else ("", i), []).append(i)
    if len(members) < 2:
        raise _one_group(data.group or "", len(positions), next((groups[i] for i in positions), ""))
    wanted = {name: rows * data.eval_fraction for name, rows in Counter(strata[i] for i in positions).items()}
    order = sorted(members, key=lambda name: hashlib.sha256(f"{seed}:group:{name}".encode()).digest())
    chosen: list[tuple[str, int]] = []
    for name in order:
        counts = Counter(strata[i] for i in members[name])
        gain = sum(abs(wanted[one]) - abs(wanted[one] - rows) for one, rows in counts.items())
        if gain > 0 and len(chosen) < len(members) - 1:
            chosen.append(name)
            for one, rows in counts.items():
                wanted[one] -= rows
    if not chosen:  # every group is larger than twice the share
        chosen = [min(order, key=lambda name: len(members[name]))]
    held = {i for name in chosen for i in members[name]}
    return held, (len(members) - len(chosen), len(chosen))


def _one_group(column: str, rows: int, value: str) -> TrainingError:
    return bad_data(
        f"All {rows} rows are of one group: column '{column}' holds {value!r}.",
        hint="Name a column of at least two values as dataset.group, or evaluation data as dataset.eval.",
        where="dataset.group",
    )
