"""The held-out rows that the finished model finds hardest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adamss_core.training import evaluation
from adamss_core.training.hardest_examples import KEPT, SHOWN
from adamss_core.training.run import run
from tests.adamss_core.training.support import FinishedRun, Recorder, job, request, texts, write_rows

pytestmark = pytest.mark.slow


def test_a_wrong_label_comes_first(model: Path, tmp_path: Path) -> None:
    rows = texts(KEPT + 20, seed=5)
    wrong = 7
    rows[wrong]["label"] = {"good": "bad", "bad": "good"}[rows[wrong]["label"]]
    rows[wrong]["text"] += " word1" * SHOWN
    wish = request(model, tmp_path / "run", spec=job(), eval_file=write_rows(tmp_path / "eval.jsonl", rows))
    hardest = run(wish, Recorder()).hardest
    assert len(hardest) == KEPT
    first = hardest[0]
    assert (first["row"], first["data"], first["expected"]) == (wrong + 1, "eval", rows[wrong]["label"])
    assert first["predicted"] != first["expected"]
    assert len(first["input"]["text"]) == SHOWN + 1  # cut, and it says so
    losses = [row["loss"] for row in hardest]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 2 * losses[1]
    json.dumps(hardest, allow_nan=False)


@pytest.mark.parametrize("part", ["evaluator.predict", "hardest_examples._said"])
def test_a_lack_of_memory_costs_the_list_only(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def exhausted(*_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(f"adamss_core.training.{part}", exhausted)
    monkeypatch.setattr(evaluation, "KEPT_BYTES", 0)
    recorder = Recorder()
    wish = request(model, tmp_path / "run", spec=job(training={"max_steps": 21}))
    outcome = run(wish, recorder)
    assert outcome.hardest == []
    assert len(outcome.artifacts) == 1
    assert any("memory ran out" in message for _, message, _ in recorder.events)


def test_held_out_rows_have_the_numbers_of_their_file(finished: FinishedRun) -> None:
    rows = [json.loads(line) for line in finished.request.train_file.read_text().splitlines()]
    hardest = finished.outcome.hardest
    assert len(hardest) == finished.outcome.result["eval_rows"]
    assert {row["data"] for row in hardest} == {"train"}
    for row in hardest:
        source = rows[row["row"] - 1]
        assert (row["input"], row["expected"]) == ({"text": source["text"]}, source["label"])
    mean = sum(row["loss"] for row in hardest) / len(hardest)
    assert mean == pytest.approx(finished.outcome.result["eval_loss"], rel=1e-3)
