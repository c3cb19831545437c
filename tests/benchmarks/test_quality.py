"""The quality benchmark at tiny sizes: parts, pairing, resuming; never which contender is better."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality.bases import DECODER, encoder_folder
from benchmarks.quality.contenders import CONTENDERS, field_of
from benchmarks.quality.data import TASKS, Rows, batches
from benchmarks.quality.picture import draw
from benchmarks.quality.pieces import Results, pack, reported, tuning, unpack
from benchmarks.quality.tables import Line, paired, table

CPU = torch.device("cpu")
SUMMARY = Path(__file__).parents[2] / "docs" / "measurements" / "quality.json"
DOCS = Path(__file__).parents[2] / "docs" / "quality.md"
REVIEWS, NUMBERS = TASKS["reviews"], TASKS["reviews-numbers"]


def test_batches_hold_every_row_once_and_repeat_by_seed() -> None:
    rows = Rows([[101] + [7] * (i % 5) + [102] for i in range(70)], torch.arange(70.0))
    for seed in (1, None):
        seen = list(batches(rows, seed, CPU))
        assert sorted(place for _, _, places in seen for place in places) == list(range(70))
        assert all(int(inputs["attention_mask"].sum(1).max()) == inputs["input_ids"].shape[1] for inputs, _, _ in seen)
        again = list(batches(rows, seed, CPU))
        assert all(torch.equal(a[0]["input_ids"], b[0]["input_ids"]) for a, b in zip(seen, again, strict=True))


def test_a_difference_is_paired_by_seed_and_row() -> None:
    targets = np.array([1.0, -1.0] * 50)
    theirs = np.tile(targets, (3, 1))
    ours = theirs.copy()
    ours[:, :10] *= -1  # ten of a hundred rows wrong, in every seed
    gain, low, high = paired(REVIEWS, ours, theirs, targets, drawings=200)
    assert gain == pytest.approx(-10)
    assert low < gain < high < 0
    assert paired(REVIEWS, theirs, theirs, targets, drawings=20) == (0, 0, 0)
    gain, _, _ = paired(NUMBERS, theirs * 3 + 1, theirs, targets, drawings=20)
    assert gain == pytest.approx(0)  # a correlation knows no scale


def test_a_rate_is_chosen_on_the_rows_to_tune_on_and_a_stopped_benchmark_goes_on(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    names = ["LoRA r=1"]
    pieces = tuning(["reviews"], names)
    assert reported(results, ["reviews"], names) == []
    for place, piece in enumerate(pieces):
        assert results.best_rate("reviews", names[0]) is None
        results.add({"key": piece.key, **vars(piece), "score": [70.0, 80.0, 75.0][place]})
    assert Results(tmp_path / "results.jsonl").best_rate("reviews", names[0]) == pieces[1].rate
    assert [piece.seed for piece in reported(results, ["reviews"], names)] == [0, 1, 2, 3, 4]
    values = np.linspace(-3, 3, 50)
    assert unpack(pack(values)) == pytest.approx(values, abs=2e-3)


def test_the_documents_tables_are_those_of_the_measurement() -> None:
    written = DOCS.read_text(encoding="utf-8")
    for name, lines in json.loads(SUMMARY.read_text(encoding="utf-8")).items():
        assert table(TASKS[name], [Line(**line) for line in lines]) in written, name
        assert draw([(name, [Line(**line) for line in lines])]).count("<circle") >= len(lines)


def test_batches_of_a_decoder_end_where_the_answer_is_read() -> None:
    rows = Rows([[5, 6, 7], [8]], torch.zeros(2), DECODER)
    inputs, _, places = next(batches(rows, None, CPU))
    assert places == [1, 0]
    assert inputs["input_ids"].tolist() == [[0, 0, 8], [5, 6, 7]]
    assert inputs["attention_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]


def test_the_second_of_two_texts_has_a_type_of_its_own() -> None:
    rows = Rows([[101, 7, 102, 8, 102], [101, 7, 102]], torch.zeros(2))
    inputs, _, _ = next(batches(rows, None, CPU))
    assert inputs["token_type_ids"].tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]


def test_many_classes_are_judged_by_the_margin_of_the_true_one() -> None:
    goal = TASKS["images"].goal
    outputs, targets = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]]), torch.tensor([0.0, 2.0])
    values = goal.value(outputs, targets)
    assert values.tolist() == [1, -1]
    assert goal.score(values, targets) == 50


def test_each_task_has_its_field_and_its_reference() -> None:
    for task in TASKS.values():
        assert "LoRA r=1" in field_of(task), task.name
    assert "inputs r=288, random half of the rows" in field_of(TASKS["answers"])
    assert "inputs r=288, random half of the rows" not in field_of(TASKS["reviews"])
    assert [TASKS[name].base.full for name in ("reviews", "images", "answers")] == [9_216, 18_432, 57_600]


def test_words_of_a_tweet_are_tagged_once() -> None:
    from benchmarks.rate_tasks import load

    task, rows = load("tokens", 0.02)
    for ids, tags in zip(rows["train"].items, rows["train"].targets, strict=True):
        assert set(tags.tolist()) <= {-100, 0, 1}
        assert tags[0] == -100  # the first token is no word
        assert int((tags != -100).sum()) <= len(ids) - 2
    outputs = torch.nn.functional.one_hot(rows["tune"].targets.clamp(min=0).long(), 2).float()
    assert task.goal.score(task.goal.value(outputs, rows["tune"].targets), rows["tune"].targets) == 100


@pytest.mark.compat
@pytest.mark.parametrize(
    ("name", "share"),
    [("LoRA r=1, A from gradient", 1.0), ("inputs r=192, half the rows", 0.5), ("gradient r=128, FFN out", 1 / 3)],
)
def test_a_contender_trains_what_it_says(name: str, share: float) -> None:
    from benchmarks.quality.training import Rates, measure

    contender = CONTENDERS[name]
    found = measure(contender, REVIEWS, Rates(1e-2), 0, "tune", encoder_folder(), 0.01, "cpu")
    assert found.outputs.shape == (10,)
    published = contender.published(REVIEWS.base) if contender.published else found.peak
    assert published / REVIEWS.base.full == pytest.approx(share, abs=0.01)
