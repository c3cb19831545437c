"""What only illustrates a run cannot end it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
from transformers import AutoModelForCausalLM

from adamss_core.training import artifacts, hardest_examples
from adamss_core.training.data import Rows
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.illustration import illustrate
from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.run import run
from adamss_core.training.tasks.text_generation import TextGeneration
from tests.adamss_core.training.chats import build_chat_tokenizer, build_llama, completions, generation_job
from tests.adamss_core.training.support import Recorder, request


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llama(tmp_path_factory.mktemp("llama") / "model")


def failing(error: Exception) -> Any:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB."), "memory ran out"),
        (TrainingError("bad_data", "Row 3 is odd.", hint="Mend it."), "Row 3 is odd"),
        (ValueError("no such token.\nMore lines."), "ValueError: no such token"),
        (ValueError("a\0b"), "ValueError: ab"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_failure_becomes_a_warning_with_its_reason(error: Exception, reason: str) -> None:
    recorder = Recorder()
    assert illustrate(recorder, "No samples are written", failing(error), "otherwise") == "otherwise"
    assert recorder.events == [
        ("warning", f"No samples are written: {reason}.", {"error": type(error).__name__}),
    ]


def test_result_passes_and_so_does_a_stop() -> None:
    assert illustrate(NullReporter(), "Nothing is lost", lambda: 1, 0) == 1
    with pytest.raises(Stopped):
        illustrate(NullReporter(), "Nothing is lost", failing(Stopped("stopped")), None)


def test_no_process_leaves_the_others_waiting() -> None:
    with pytest.raises(ValueError, match="odd"):
        illustrate(NullReporter(), "Nothing is lost", failing(ValueError("odd")), None, processes=2)


@pytest.mark.slow
def test_run_succeeds_where_all_that_illustrates_it_fails(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for target, name in ((TextGeneration, "samples"), (TextGeneration, "baseline"), (artifacts, "model_card")):
        monkeypatch.setattr(target, name, failing(KeyError(name)))
    monkeypatch.setattr(hardest_examples, "predict", failing(KeyError("hardest")))
    recorder = Recorder()
    spec = generation_job(training={"max_steps": 2}, artifacts=["adapter", "merged"])
    outcome = run(request(llama, tmp_path, completions(20), spec=spec), recorder)
    assert [file.name for file in outcome.artifacts] == ["adapter", "merged"]
    assert (outcome.result["baseline"], outcome.hardest) == (None, [])
    warnings = [message for kind, message, _ in recorder.events if kind == "warning"]
    for lost in ("samples", "baseline", "highest loss", "adapter' has no model card", "merged' has no model card"):
        assert any(lost in message for message in warnings), lost


@pytest.mark.compat
@pytest.mark.slow
def test_error_of_the_training_itself_ends_the_run(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextGeneration, "losses", failing(KeyError("losses")))
    with pytest.raises(KeyError, match="losses"):
        run(request(llama, tmp_path, completions(20), spec=generation_job(training={"max_steps": 2})), Recorder())


def test_empty_prompt_is_sampled_and_answered(llama: Path) -> None:
    """The tokenizer has no token that begins a text: the one that ends a text stands for it, and is shown."""
    task, tokenizer = TextGeneration(generation_job()), build_chat_tokenizer()
    assert tokenizer.bos_token is None
    model = AutoModelForCausalLM.from_pretrained(llama).eval()
    rows = Rows({"prompt": ["", "What?"], "completion": [" It is.", " It is."]}, [1, 2])
    samples = task.samples(model, tokenizer, rows, 64)
    assert [sample["prompt"] for sample in samples] == ["<|end|>", "What?"]
    answers = task.predict(model, tokenizer, [{"prompt": ""}], 64)
    assert samples[0]["tokens"] > 0
    assert answers[0]["text"].startswith(samples[0]["completion"])
