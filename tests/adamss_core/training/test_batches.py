from __future__ import annotations

import pytest
import torch

from adamss_core.training import length_policy
from adamss_core.training.batches import StepRows, epoch_steps
from adamss_core.training.data import Data, Rows
from adamss_core.training.errors import Stopped
from adamss_core.training.length_policy import encode_data
from adamss_core.training.tasks import task_of
from tests.adamss_core.training.support import Recorder, build_tokenizer, job

LENGTHS = torch.randint(3, 60, (203,), generator=torch.Generator().manual_seed(0))


def test_every_row_comes_once_an_epoch() -> None:
    steps = epoch_steps(LENGTHS, 8, seed=1, epoch=0)
    assert sorted(row for step in steps for row in step) == list(range(203))
    assert sorted(map(len, steps)) == [3] + [8] * 25


def test_an_epoch_is_a_function_of_seed_and_number() -> None:
    assert epoch_steps(LENGTHS, 8, seed=1, epoch=2) == epoch_steps(LENGTHS, 8, seed=1, epoch=2)
    assert epoch_steps(LENGTHS, 8, seed=1, epoch=2) != epoch_steps(LENGTHS, 8, seed=1, epoch=3)
    assert epoch_steps(LENGTHS, 8, seed=1, epoch=2) != epoch_steps(LENGTHS, 8, seed=2, epoch=2)


def test_rows_of_a_step_are_of_like_length_and_the_longest_come_first() -> None:
    steps = epoch_steps(LENGTHS, 8, seed=1, epoch=0)
    assert int(LENGTHS.max()) == int(LENGTHS[steps[0]].max())
    padded = sum(len(step) * int(LENGTHS[step].max()) for step in steps)
    unsorted = sum(len(part) * int(part.max()) for part in LENGTHS.split(8))
    assert padded < 0.75 * unsorted


@pytest.mark.parametrize("rows", [1, 7, 8, 9])
def test_few_rows(rows: int) -> None:
    steps = epoch_steps(LENGTHS[:rows], 8, seed=0, epoch=0)
    assert sorted(row for step in steps for row in step) == list(range(rows))


def test_rows_of_a_step_follow_from_its_number() -> None:
    rows = StepRows(LENGTHS, 8, seed=1, total_steps=60)  # 26 steps an epoch
    epochs = [epoch_steps(LENGTHS, 8, seed=1, epoch=number) for number in range(3)]
    expected = [step for epoch in epochs for step in epoch][:60]
    ahead = [(rows(step), rows(step + 1)) for step in range(60)]
    assert [now for now, _ in ahead] == expected
    assert [upcoming for _, upcoming in ahead] == [*expected[1:], []]
    assert StepRows(LENGTHS, 8, seed=1, total_steps=60)(40) == expected[40]  # as after a resume


def test_texts_are_cut_counted_and_padded_to_the_longest_of_a_batch() -> None:
    texts = ["fine fine", " ".join(["dull"] * 30), "great"]
    rows = Rows({"text": texts, "label": ["good", "bad", "good"]}, [1, 2, 3])
    task = task_of(job())
    data = task.encode(rows, ["bad", "good"], build_tokenizer(), 12)
    assert (data.lengths.tolist(), data.targets.tolist(), data.over_length) == ([4, 12, 3], [1, 0, 1], [1])
    inputs, labels = task.collator(build_tokenizer(), torch.device("cpu"))(data, [0, 2])
    assert inputs["input_ids"].shape == (2, 4)
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert labels.tolist() == [1, 1]


def test_pairs_are_told_apart() -> None:
    rows = Rows({"text": ["fine"], "text_pair": ["dull dull"], "label": ["good"]}, [1])
    data = task_of(job()).encode(rows, ["good"], build_tokenizer(), 12)
    assert data.features[0]["token_type_ids"].tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_rows_encoded_in_pieces_are_the_same_examples(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    rows = {
        "text-classification": Rows(
            {"text": ["fine " * n for n in range(1, 8)], "label": ["x"] * 7}, list(range(1, 8))
        ),
        "token-classification": Rows(
            {"tokens": [["fine"] * n for n in range(1, 8)], "tags": [["x"] * n for n in range(1, 8)]}, list(range(1, 8))
        ),
    }[task]
    data = Data(rows, rows.take([0]), ["x"], {})
    spec = job(task=task, dataset={"train": "ds_" + "a" * 12})
    wholes = encode_data(task_of(spec), data, build_tokenizer(), 6, Recorder())
    monkeypatch.setattr(length_policy, "PIECE", 2)
    recorder = Recorder()
    _, pieces, _ = encode_data(task_of(spec), data, build_tokenizer(), 6, recorder)
    whole = wholes[1]
    assert [feature["input_ids"].tolist() for feature in pieces.features] == [
        feature["input_ids"].tolist() for feature in whole.features
    ]
    assert [target.tolist() for target in pieces.targets] == [target.tolist() for target in whole.targets]
    assert pieces.over_length == whole.over_length == [4, 5, 6]
    assert torch.equal(pieces.lengths, whole.lengths)
    assert torch.equal(pieces.loss_terms, whole.loss_terms)
    assert recorder.event_types().count("rows_encoded") == 3
    with pytest.raises(Stopped):
        encode_data(task_of(spec), data, build_tokenizer(), 6, StopsAtOnce())


class StopsAtOnce(Recorder):
    def stop_requested(self) -> bool:
        return True
