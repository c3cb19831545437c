"""The model of a finished run, or its base, evaluated on other rows: the numbers are those of the run itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

from adamss_core.evaluation_job import evaluate_model
from adamss_core.fileio.hashing import sha256_of
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.request import PublishedModel, RunRequest
from adamss_core.training.run import run
from tests.adamss_core.training.chats import build_llama, completions, generation_job
from tests.adamss_core.training.support import BAD, GOOD, FinishedRun, Recorder, job, request, texts, write_rows

pytestmark = pytest.mark.slow


def trained_with_test(model: Path, folder: Path, rows: list[dict[str, Any]]) -> FinishedRun:
    wish = request(
        model,
        folder,
        spec=job(artifacts=["adapter", "lora", "merged"], training={"max_steps": 24}),
        test_file=write_rows(folder.parent / "test.jsonl", rows),
    )
    recorder = Recorder()
    return FinishedRun(wish, recorder, run(wish, recorder))


@pytest.fixture(scope="module")
def tested(model: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run whose test rows hold one that is unknown to it."""
    rows = [*texts(61, seed=9), {"text": "word1 fine", "label": "unheard of"}]
    return trained_with_test(model, tmp_path_factory.mktemp("tested") / "run", rows)


def asked(finished: FinishedRun, name: str, folder: Path, *, is_base: bool = False) -> RunRequest:
    (archive,) = [artifact.path for artifact in finished.outcome.artifacts if artifact.name == name]
    published = PublishedModel(archive, sha256_of(archive), is_base)
    wish = replace(finished.request, folder=folder, evaluates=published)
    assert RunRequest.from_json(wish.to_json()) == wish
    return wish


@pytest.mark.parametrize("name", ["adapter", "lora", "merged"])
def test_the_numbers_are_those_of_the_run(tested: FinishedRun, name: str, tmp_path: Path) -> None:
    recorder = Recorder()
    found = evaluate_model(asked(tested, name, tmp_path), recorder)
    result, run_result = found.result, tested.outcome.result
    names = [key for key in run_result if key.startswith("test_")]
    assert {"test_loss", "test_accuracy", "test_rows"} <= set(names)
    near = 0.0 if name == "adapter" else 1e-4  # the adapter is what the run evaluated, the others are computed from it
    assert {key: result[key] for key in names} == pytest.approx({key: run_result[key] for key in names}, abs=near)
    (report,), run_report = found.evaluation, tested.outcome.evaluation[1]
    same = ("data", "rows", "classes", "classes_are", "confusion")
    assert {key: report[key] for key in same} == {key: run_report[key] for key in same}
    assert [row["data"] for row in found.hardest] == ["test"] * 61
    assert found.hardest[0]["loss"] == max(row["loss"] for row in found.hardest)
    assert (result["labels"], result["model"], found.artifacts) == (["bad", "good"], "trained", [])
    (unknown,) = [data for kind, _, data in recorder.events if kind == "unknown_labels"]
    assert (unknown["rows"], unknown["data"]) == (1, "test")


def test_the_baseline_is_of_the_evaluated_rows(tested: FinishedRun, tmp_path: Path) -> None:
    rows = [{"text": f"{word} word{n}", "label": "bad"} for n, word in enumerate(BAD * 4)]
    rows += [{"text": f"{word} word9", "label": "good"} for word in GOOD]
    wish = replace(asked(tested, "adapter", tmp_path), test_file=write_rows(tmp_path / "other.jsonl", rows))
    result = evaluate_model(wish, Recorder()).result
    assert (result["baseline"]["predicts"], result["baseline"]["accuracy"]) == ('always "bad"', 0.8)


def test_a_base_that_would_guess_is_refused(tested: FinishedRun, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        evaluate_model(asked(tested, "merged", tmp_path, is_base=True), Recorder())
    assert (caught.value.code, caught.value.where) == ("no_head", "model")


def test_a_base_that_is_a_classifier_is_evaluated_by_the_names_of_its_classes(
    tested: FinishedRun, tmp_path: Path
) -> None:
    """The merged model as a base: its own numbers come back, and in the other order of its classes too."""
    model = AutoModelForSequenceClassification.from_pretrained(unzipped(tested, "merged", tmp_path / "base"))
    for parameter in (model.classifier.weight, model.classifier.bias):
        parameter.data = parameter.data.flip(0)
    model.config.id2label, model.config.label2id = {0: "good", 1: "bad"}, {"good": 0, "bad": 1}
    model.save_pretrained(tmp_path / "base")
    wish = replace(asked(tested, "adapter", tmp_path / "job", is_base=True), model=str(tmp_path / "base"))
    result = evaluate_model(wish, Recorder()).result
    assert result["model"] == "base"
    assert result["test_accuracy"] == tested.outcome.result["test_accuracy"]


def unzipped(finished: FinishedRun, name: str, folder: Path) -> Path:
    import zipfile

    (archive,) = [artifact.path for artifact in finished.outcome.artifacts if artifact.name == name]
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    return folder


def test_text_generation_is_judged_beside_its_base_and_the_base_alone(tmp_path: Path) -> None:
    spec = generation_job(training={"max_steps": 6, "sample_prompts": 0})
    model, rows = build_llama(tmp_path / "model"), completions(40)
    test_file = write_rows(tmp_path / "test.jsonl", completions(12))
    wish = request(model, tmp_path / "run", rows, spec=spec, test_file=test_file)
    finished = FinishedRun(wish, Recorder(), run(wish, Recorder()))
    trained = evaluate_model(asked(finished, "adapter", tmp_path / "one"), Recorder()).result
    base = evaluate_model(asked(finished, "adapter", tmp_path / "two", is_base=True), Recorder()).result
    assert trained["test_loss"] == finished.outcome.result["test_loss"]
    assert trained["baseline"]["loss"] == pytest.approx(base["test_loss"])
    assert (base["baseline"], base["judgement"]) == (None, None)


def test_progress_is_told_and_a_stop_obeyed(tested: FinishedRun, tmp_path: Path) -> None:
    recorder = Recorder()
    told: list[tuple[int, int]] = []
    recorder.progress = lambda *, step, total_steps, **_: told.append((step, total_steps))  # type: ignore[method-assign]
    evaluate_model(asked(tested, "adapter", tmp_path), recorder)
    assert told == [(step, 8) for step in range(9)]
    with pytest.raises(Stopped):
        evaluate_model(asked(tested, "adapter", tmp_path), Stopping())


class Stopping(Recorder):
    def stop_requested(self) -> bool:
        return True
