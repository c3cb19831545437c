"""Which rows are trained on and held out: by class, by group, by the weight of their data set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adamss_core.spec.job import DataSources
from adamss_core.spec.split import count_rows, held_out, used
from adamss_core.training.data import joined_files, read_column, read_rows
from adamss_core.training.errors import TrainingError
from adamss_core.training.selection import Selection, select
from tests.adamss_core.training.support import write_rows

A, B = "ds_aaaaaaaa", "ds_bbbbbbbb"
LABELS = ["a"] * 60 + ["b"] * 30 + ["c"] * 10 + ["once"] + ["a!"] * 15


def chosen(
    classes: list[str] | None = None, groups: list[str] | None = None, *, sizes: list[int], seed: int = 3, **data: Any
) -> Selection:
    spec = DataSources.model_validate({"train": A} | data)
    return select(spec, seed, list(range(1, sum(sizes) + 1)), sizes, classes, groups)


def test_the_rows_of_earlier_versions_are_held_out() -> None:
    """A checkpoint of a job from before resumes on the same rows."""
    stratified = chosen(LABELS, sizes=[116], eval_fraction=0.13)
    assert [i + 1 for i in stratified.evaluation] == [6, 14, 16, 23, 33, 42, 44, 59, 63, 66, 86, 90, 93, 103, 112]
    plain = chosen(None, sizes=[116], eval_fraction=0.13)
    assert [i + 1 for i in plain.evaluation] == [6, 14, 16, 23, 42, 59, 63, 66, 86, 90, 93, 96, 103, 112, 114]
    assert sorted(plain.train + plain.evaluation) == list(range(116))


def test_the_split_is_stratified_and_seeded() -> None:
    found = chosen(LABELS, sizes=[116])
    assert Counter(LABELS[i] for i in found.evaluation) == {"a": 6, "b": 3, "c": 1, "a!": 2}
    assert LABELS.index("once") in found.train
    assert chosen(LABELS, sizes=[116], seed=4).evaluation != found.evaluation


def test_at_most_so_many_rows_in_the_proportions_of_classes() -> None:
    found = chosen(LABELS, sizes=[116], max_rows=20)
    rows = found.train + found.evaluation
    assert len(rows) == 20
    assert Counter(LABELS[i] for i in rows) == {"a": 9, "b": 5, "c": 2, "a!": 3, "once": 1}
    assert chosen(LABELS, sizes=[116], max_rows=500) == chosen(LABELS, sizes=[116])
    assert used({"a": 5, "b": 1, "c": 1}, 4) == {"a": 2, "b": 1, "c": 1}


def test_rows_are_seen_as_often_as_their_data_set_weighs() -> None:
    """None of them is held out as well, whatever its weight."""
    train = [{"id": A, "weight": 2.5}, {"id": B, "weight": 0.5}]
    found = chosen(None, sizes=[20, 40], train=train)
    assert found.sets == [45, 18]
    assert len(found.evaluation) == 6
    times = Counter(found.train)
    assert Counter(times[i] for i in range(20) if i in times) == {2: 9, 3: 9}
    assert Counter(times[i] for i in range(20, 60) if i in times) == {1: 18}
    assert not set(times) & set(found.evaluation)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("abc"), min_size=2, max_size=60), st.floats(0.01, 5)),
        min_size=1,
        max_size=3,
    ),
    st.integers(4, 100) | st.none(),
    st.floats(0.01, 0.9),
)
def test_a_dry_run_counts_the_rows_that_the_run_finds(
    sets: list[tuple[list[str], float]], most: int | None, fraction: float
) -> None:
    train = [{"id": f"ds_aaaaaaa{i}", "weight": weight} for i, (_, weight) in enumerate(sets)]
    data: dict[str, Any] = {"train": train, "max_rows": most, "eval_fraction": fraction}
    classes = [name for labels, _ in sets for name in labels]
    found = chosen(classes, sizes=[len(labels) for labels, _ in sets], **data)
    counts = count_rows([Counter(labels) for labels, _ in sets], [weight for _, weight in sets], most, fraction)
    assert (counts.trained, counts.held_out) == (found.sets, len(found.evaluation))


def test_a_group_is_on_one_side() -> None:
    groups = [f"patient {i % 25}" for i in range(200)]
    classes = ["ill" if i % 25 < 5 else "well" for i in range(200)]
    found = chosen(classes, groups, sizes=[200], group="patient", eval_fraction=0.2)
    held, train = ({groups[i] for i in side} for side in (found.evaluation, found.train))
    assert not held & train
    assert found.groups == (len(train), len(held))
    assert Counter(classes[i] for i in found.evaluation) == {"ill": 8, "well": 32}


def test_rows_without_a_group_stand_alone_and_one_group_is_refused() -> None:
    found = chosen(None, ["big"] * 50 + [""] * 50, sizes=[100], group="patient", eval_fraction=0.1)
    assert found.groups == (41, 10)
    assert all(i >= 50 for i in found.evaluation)
    two = chosen(None, ["a"] * 90 + ["b"] * 10, sizes=[100], group="patient", eval_fraction=0.01)
    assert two.evaluation == list(range(90, 100))
    with pytest.raises(TrainingError, match="All 4 rows are of one group: column 'patient' holds 'x'"):
        chosen(None, ["x"] * 4, sizes=[4], group="patient")


def test_files_are_read_as_one(tmp_path: Path) -> None:
    from adamss_core.spec.cells import Reader

    reader = Reader({"image": "image"}, dict, ("image",))
    paths = [tmp_path / "ds_a.jsonl", tmp_path / "ds_b.jsonl"]
    for path in paths:
        write_rows(path, [{"image": "1.png", "who": 1}, {"image": "2.png", "who": None}])
    joined = joined_files([read_rows(path, reader) for path in paths], "image")
    assert joined.numbers == [1, 2, 3, 4]
    assert joined["image"] == ["ds_a/1.png", "ds_a/2.png", "ds_b/1.png", "ds_b/2.png"]
    assert joined.images == tmp_path
    assert read_column(paths[0], "who") == ["1", ""]
    assert read_column(paths[0], "nothere") == ["", ""]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"train": [A, {"id": A, "weight": 2}]}, "names a data set twice"),
        ({"train": []}, "at least 1"),
        ({"train": [{"id": A, "weight": 0}]}, "greater than 0"),
        ({"train": A, "eval": B, "group": "who"}, "no effect beside eval"),
        ({"train": A, "max_rows": 3}, "greater than or equal to 4"),
    ],
)
def test_what_cannot_be_meant_is_refused(data: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DataSources.model_validate(data)


def test_every_class_keeps_its_share_of_held_out_rows_in_each_set() -> None:
    counts = {(0, "a"): 50, (0, "b"): 50, (1, "a"): 10, (1, "b"): 90}
    assert held_out(counts, 0.1) == {(0, "a"): 5, (0, "b"): 5, (1, "a"): 1, (1, "b"): 9}
