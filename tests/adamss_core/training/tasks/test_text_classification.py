from __future__ import annotations

import csv
import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import processors
from transformers import AutoTokenizer

from adamss_core.spec.cells import Unusable, label_set, number_of
from adamss_core.training.base_model import Source
from adamss_core.training.errors import TrainingError
from adamss_core.training.run import run
from adamss_core.training.scores import class_scores, label_set_scores, number_scores
from adamss_core.training.tasks import task_of
from benchmarks.tiny_families import seq2seq
from examples.demo_model import install_model
from tests.adamss_core.training.support import BAD, GOOD, NEUTRAL, Recorder, request, texts
from tests.adamss_core.training.tasks.support import card_answers, predicted, task_job

pytestmark = pytest.mark.slow

TASK = "text-classification"


def words(seed: int, rows: int) -> list[tuple[str, bool, bool, int]]:
    """(text, has a good word, has a bad word, good less bad words)"""
    source = random.Random(seed)
    made = []
    for _ in range(rows):
        good, bad = source.randint(0, 2), source.randint(0, 2)
        chosen = [*source.choices(GOOD, k=good), *source.choices(BAD, k=bad), *source.choices(NEUTRAL, k=3)]
        source.shuffle(chosen)
        made.append((" ".join(chosen), good > 0, bad > 0, good - bad))
    return made


def test_several_classes_at_once(model: Path, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []
    for number, (text, good, bad, _) in enumerate(words(1, 240)):
        names = ["good"] * good + ["bad"] * bad
        rows.append({"text": text, "label": names if number % 2 else "; ".join(names)})
    spec = task_job(
        TASK,
        problem_type="multi_label_classification",
        dataset={"label_separator": ";"},
        training={"epochs": 5, "learning_rate": 0.03},
    )
    recorder = Recorder()
    outcome = run(request(model, tmp_path, rows, spec=spec), recorder)
    result = outcome.result
    assert result["labels"] == ["bad", "good"]
    assert result["train_rows"] + result["eval_rows"] == 240  # a row of no class is one
    assert result["eval_micro_f1"] > result["baseline"]["micro_f1"] + 0.1
    assert result["eval_macro_f1"] > 0.85
    assert result["eval_accuracy"] > result["baseline"]["accuracy"] + 0.2
    (report,) = outcome.evaluation
    assert [entry["name"] for entry in report["classes"]] == ["bad", "good"]
    assert sum(entry["f1"] for entry in report["classes"]) / 2 == pytest.approx(result["eval_macro_f1"])
    assert "confusion" not in report
    assert [a.manifest["verification"]["largest_difference"] < 1e-4 for a in outcome.artifacts] == [True] * 3
    asked = request(model, tmp_path, rows, spec=spec)
    assert all(set(answer) == {"bad", "good"} for answer in card_answers(asked, outcome, tmp_path))
    inputs = [{"text": "fine dull word1 great cold"}, {"text": "word1 fine word2 great word3"}]
    assert [answer["labels"] for answer in predicted(outcome, spec, tmp_path, inputs)] == [["bad", "good"], ["good"]]


def test_columns_of_0_and_1_are_as_good_as_a_list(model: Path, tmp_path: Path) -> None:
    rows = [{"text": f"word{n % 9} word{n % 5}", "good": n % 2, "bad": n % 3 == 0} for n in range(24)]
    lists = [{"text": row["text"], "label": [name for name in ("good", "bad") if row[name]]} for row in rows]
    outcomes = []
    for place, (content, label) in enumerate(((rows, ["good", "bad"]), (lists, "label"))):
        spec = task_job(
            TASK,
            problem_type="multi_label_classification",
            dataset={"label": label},
            training={"max_steps": 3},
            artifacts=["adapter"],
        )
        outcomes.append(run(request(model, tmp_path / str(place), content, spec=spec), Recorder()).result)
    assert outcomes[0]["labels"] == ["bad", "good"]
    assert outcomes[0]["eval_loss"] == outcomes[1]["eval_loss"]


def test_a_number(model: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "label": 100 + 2 * value} for text, _, _, value in words(2, 240)]
    rows += [{"text": "word1", "label": "much"}, {"text": "word1", "label": ""}]
    spec = task_job(TASK, problem_type="regression", training={"epochs": 5, "learning_rate": 0.03})
    recorder = Recorder()
    outcome = run(request(model, tmp_path, rows, spec=spec), recorder)
    result = outcome.result
    assert result["eval_loss"] < 0.4 * result["baseline"]["loss"]
    assert result["eval_pearson"] > 0.8
    assert result["eval_spearman"] > 0.8
    assert (result["labels"], result["held_out"]["stratified"]) == ([], False)
    # On the scale of the data from the first step on: the head begins at the mean.
    assert recorder.of("train")[5]["loss"] < 3 * result["baseline"]["loss"]
    assert [a.manifest["verification"]["largest_difference"] < 1e-4 for a in outcome.artifacts] == [True] * 3
    left_out = next(facts for name, _, facts in recorder.events if name == "rows_left_out")
    assert left_out["reasons"] == {"whose label is not a number": 1, "without a label": 1}
    answers = card_answers(request(model, tmp_path, rows, spec=spec), outcome, tmp_path)
    assert answers == [pytest.approx(answers[0], abs=1e-3)] * 3
    high, low = predicted(outcome, spec, tmp_path, [{"text": "fine great"}, {"text": "dull cold"}])
    assert high["value"] > low["value"] + 2
    (report,) = outcome.evaluation
    assert report["residuals"]["root_mean_square"] ** 2 == pytest.approx(result["eval_loss"], rel=1e-3)
    assert sum(report["residuals"]["histogram"]["rows"]) == result["eval_rows"]
    assert (result["judgement"]["method"], result["judgement"]["no_better"]) == ("Fisher's z", False)


def test_years_are_published(model: Path, tmp_path: Path) -> None:
    """Before: with the same allowance for years as for logits of usual size, `lora` answered "differently"."""
    rows = [{"text": text, "label": 1990 + 2 * value} for text, _, _, value in words(2, 240)]
    spec = task_job(TASK, problem_type="regression", training={"epochs": 5, "learning_rate": 0.03})
    outcome = run(request(model, tmp_path, rows, spec=spec), Recorder())
    assert [artifact.name for artifact in outcome.artifacts] == ["adapter", "lora", "merged"]
    assert outcome.result["eval_loss"] < 0.4 * outcome.result["baseline"]["loss"]


def test_a_job_of_one_step_learns_something(model: Path, tmp_path: Path) -> None:
    """Its one rate is not the zero that a warm-up begins with; without a change there would be no LoRA to export."""
    rows: list[dict[str, Any]] = [{"text": "fine" if i % 2 else "dull", "label": i % 2} for i in range(20)]
    spec = task_job(TASK, training={"max_steps": 1}, artifacts=["lora"])
    recorder = Recorder()
    assert len(run(request(model, tmp_path, rows, spec=spec), recorder).artifacts) == 1
    assert [row["learning_rate"] for row in recorder.of("train").values()] == [spec.training.learning_rate]


def test_rows_are_filled_up_with_the_tokenizers_token(model: Path) -> None:
    """Before: with a configuration that names another, which was believed."""
    task, source = task_of(task_job(TASK)), Source(str(model), None, "tiny", ("a", "b"))
    tokenizer = task.load_processor(source)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"pad_token_id": 3}))
    try:
        base, _ = task.load_base(source, tokenizer)
    finally:
        (model / "config.json").write_text(json.dumps(config))
    assert base.config.pad_token_id == tokenizer.pad_token_id != 3


@pytest.mark.compat
def test_the_mood_of_real_reviews_as_a_number(tmp_path: Path) -> None:
    """A pretrained MiniLM, 400 reviews and their annotated sentiment, 40 steps."""
    with Path("examples/data/movie_reviews.csv").open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(islice(csv.DictReader(file), 400))
    spec = task_job(
        TASK,
        problem_type="regression",
        dataset={"label": "sentiment", "eval_fraction": 0.25},
        adamss={"num_subspaces": 10, "layers_to_transform": [4, 5], "target_modules": ["query", "value"], "r": 100},
        training={"max_steps": 40, "batch_size": 16, "max_length": 40, "head_learning_rate": 0.005},
        artifacts=["adapter"],
    )
    result = run(request(install_model(tmp_path), tmp_path / "job", rows, spec=spec), Recorder()).result
    assert result["eval_rows"] == 100
    assert result["eval_pearson"] > 0.3
    assert result["eval_spearman"] > 0.3
    assert result["eval_loss"] < result["baseline"]["loss"]


@pytest.mark.parametrize(("policy", "kept"), [("drop", 20), ("truncate", 24), ("raise", None)])
def test_rows_that_are_too_long(model: Path, tmp_path: Path, policy: str, kept: int | None) -> None:
    from adamss_core.training.errors import TrainingError

    rows = [{"text": "fine word1" if i % 2 else "dull word1", "label": i % 2} for i in range(20)]
    rows += [{"text": "word1 " * 30, "label": i % 2} for i in range(4)]
    training = {"max_length": 8, "over_length": policy, "max_steps": 2}
    recorder = Recorder()
    asked = request(model, tmp_path, rows, spec=task_job(TASK, training=training, artifacts=["adapter"]))
    if kept is None:
        with pytest.raises(TrainingError, match="longer than 8 tokens") as caught:
            run(asked, recorder)
        assert caught.value.where == "training.over_length"
        return
    result = run(asked, recorder).result
    assert result["train_rows"] + result["eval_rows"] == kept
    assert result["held_out"]["rows"] == result["eval_rows"]
    events = [facts["rows"] for name, _, facts in recorder.events if name in ("rows_dropped", "rows_truncated")]
    assert sum(events) == 4


def test_how_cells_are_read() -> None:
    assert label_set("a; b ;a;", ";") == ("a", "b")
    assert label_set(["b", 1, True], None) == ("1", "b", "true")
    assert label_set("", ";") == label_set([], None) == ()
    assert label_set("a;b", None) == ("a;b",)
    assert [number_of(cell) for cell in ("1.5", " -2 ", 3, 0.25)] == [1.5, -2.0, 3.0, 0.25]
    for cell in ("much", True, "nan", "inf", None, ""):
        with pytest.raises(Unusable):
            number_of(cell)
    with pytest.raises(Unusable):
        label_set(None, ";")


def test_scores_agree_with_what_can_be_counted_by_hand() -> None:
    found = class_scores(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]))
    assert found == {
        "accuracy": 0.75,
        "macro_f1": pytest.approx((2 / 3 + 0.8) / 2),
        "matthews": pytest.approx(2 / (2 * 2 * 1 * 3) ** 0.5),
    }
    sets = label_set_scores(torch.tensor([[1, 0], [1, 1]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert sets == {"micro_f1": pytest.approx(0.8), "macro_f1": pytest.approx((2 / 3 + 1) / 2), "accuracy": 0.5}
    numbers = number_scores(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([10.0, 20.0, 90.0]))
    assert numbers == {"pearson": pytest.approx(130 / (14 / 3 * 3800) ** 0.5), "spearman": pytest.approx(1.0)}
    assert number_scores(torch.ones(3), torch.arange(3.0)) == {"pearson": None, "spearman": None}


def test_a_model_that_classifies_by_the_end_of_a_text(tmp_path: Path) -> None:
    """BART broke off in the middle of training: all examples must have the same number of <eos> tokens."""
    seq2seq(tmp_path / "bart")
    spec = task_job(TASK, training={"max_steps": 2}, artifacts=["adapter"])
    rows = texts(40)
    assert run(request(tmp_path / "bart", tmp_path / "job", rows, spec=spec), Recorder()).result["steps"] == 2
    rows[30]["text"] += " </s> more"
    with pytest.raises(TrainingError, match="1 rows have '</s>' in their text, such as row 31") as caught:
        run(request(tmp_path / "bart", tmp_path / "other", rows, spec=spec), Recorder())
    assert caught.value.code == "bad_data"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "bart")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    tokenizer.save_pretrained(tmp_path / "bart")
    with pytest.raises(TrainingError, match="adds no end token to a text") as caught:
        run(request(tmp_path / "bart", tmp_path / "third", texts(40), spec=spec), Recorder())
    assert caught.value.code == "tokenizer_mismatch"
