"""Text generation is evaluated and sampled before the first step, to stand beside what was learnt."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from adamss_core.training import loop
from adamss_core.training.errors import Stopped
from adamss_core.training.request import RunRequest, RunResult
from adamss_core.training.run import run
from adamss_core.training.tasks.text_generation import TextGeneration
from tests.adamss_core.training.chats import build_llama, completions, generation_job
from tests.adamss_core.training.support import FinishedRun, Recorder, request, write_rows

pytestmark = pytest.mark.slow

ASA = {
    "r": 16,
    "num_subspaces": 3,
    "target_modules": ["q_proj", "v_proj"],
    "use_asa": True,
    "asa_target_subspaces": 6,
    **dict.fromkeys(("init_warmup", "final_warmup", "mask_interval"), "auto"),
}
HELD_OUT = completions(12, seed=1)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llama(tmp_path_factory.mktemp("llama") / "model")


def asked(llama: Path, folder: Path, *, asa: bool = True, **training: Any) -> RunRequest:
    """12 steps with ASA, evaluated at every sixth."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = generation_job(
        adamss=ASA | {"use_asa": asa},
        dataset={"train": "ds_" + "a" * 12, "eval": "ds_" + "b" * 12},
        training={"max_steps": 12, "eval_steps": 6, "checkpoint_steps": 6, "sample_prompts": 0, **training},
    )
    held_out = write_rows(folder / "eval.jsonl", HELD_OUT)
    return request(llama, folder, completions(48), spec=spec, eval_file=held_out)


@pytest.fixture(scope="module")
def plain(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    wish, recorder = asked(llama, tmp_path_factory.mktemp("plain"), sample_prompts=1), Recorder()
    return FinishedRun(wish, recorder, run(wish, recorder))


def weights(outcome: RunResult) -> str:
    return str(outcome.artifacts[0].manifest["files"]["adapter_model.safetensors"]["sha256"])


def measured_by_hand(llama: Path) -> tuple[float, float]:
    """Return loss and accuracy of the base model, as means over the tokens of each completion and its end."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(llama).eval(), AutoTokenizer.from_pretrained(llama)
    losses, hits = [], []
    for row in HELD_OUT:
        whole = tokenizer(row["prompt"] + row["completion"], return_tensors="pt")["input_ids"][0]
        whole = torch.cat([whole, torch.tensor([tokenizer.eos_token_id])])
        begin = len(tokenizer(row["prompt"])["input_ids"])
        with torch.inference_mode():
            logits = model(whole[None]).logits[0]
        losses.append(F.cross_entropy(logits[begin - 1 : -1], whole[begin:], reduction="none"))
        hits.append(logits[begin - 1 : -1].argmax(-1) == whole[begin:])
    return float(torch.cat(losses).mean()), float(torch.cat(hits).float().mean())


def test_base_model_is_measured_and_sampled_at_step_0(plain: FinishedRun, llama: Path) -> None:
    evaluations = plain.recorder.of("eval")
    assert list(evaluations) == [0, 6, 12]
    before = plain.outcome.result["before_training"]
    assert before == evaluations[0]
    loss, accuracy = measured_by_hand(llama)
    assert before["eval_loss"] == pytest.approx(loss, rel=1e-4)
    assert before["eval_token_accuracy"] == pytest.approx(accuracy)
    assert plain.outcome.result["eval_token_accuracy"] > accuracy
    assert before["eval_perplexity"] == pytest.approx(math.exp(before["eval_loss"]))
    assert plain.outcome.result["eval_loss"] < before["eval_loss"]
    samples = {data["step"]: data["samples"] for kind, _, data in plain.recorder.events if kind == "samples"}
    assert list(samples) == list(evaluations)
    assert [sample["prompt"] for sample in samples[0]] == [sample["prompt"] for sample in samples[12]]
    assert [sample["completion"] for sample in samples[0]] != [sample["completion"] for sample in samples[12]]


def test_card_says_what_the_base_model_could_do(plain: FinishedRun) -> None:
    with zipfile.ZipFile(plain.outcome.artifacts[0].path) as archive:
        card = archive.read("README.md").decode()
    before = plain.outcome.result["before_training"]
    told = (
        f"perplexity {before['eval_perplexity']:.4f}, token accuracy {before['eval_token_accuracy']:.1%}, "
        f"loss {before['eval_loss']:.4f}"
    )
    assert f"Before training, the base model had {told} on the same rows." in " ".join(card.split())


@pytest.mark.compat
def test_evaluation_before_training_changes_nothing(
    plain: FinishedRun, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.Trainer, "_evaluate_before", lambda _: None)
    outcome = run(asked(llama, tmp_path), Recorder())
    assert weights(outcome) == weights(plain.outcome)
    assert "before_training" not in outcome.result


def test_resumed_run_keeps_it_and_does_not_repeat_it(plain: FinishedRun, llama: Path, tmp_path: Path) -> None:
    wish = asked(llama, tmp_path)
    with pytest.raises(Stopped):
        run(wish, Recorder(stop_at=7))
    recorder = Recorder()
    outcome = run(wish, recorder)
    assert recorder.resumed_at == [7]
    assert list(recorder.of("eval")) == [12]
    assert outcome.result["before_training"] == plain.outcome.result["before_training"]
    assert weights(outcome) == weights(plain.outcome)


def test_it_is_never_the_best_nor_counted_for_early_stopping(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where training only harms, the first evaluation after a step is the best one, and the next one ends the run."""
    losses = iter([1.0, 3.0, 4.0])
    monkeypatch.setattr(loop, "values_of", lambda *_: {"eval_loss": next(losses), "eval_perplexity": 9.0})
    recorder = Recorder()
    wish = asked(llama, tmp_path, asa=False, eval_steps=1, early_stopping_patience=1)
    outcome = run(wish, recorder)
    assert list(recorder.of("eval")) == [0, 1, 2]
    assert (outcome.result["before_training"]["eval_loss"], outcome.result["eval_loss"]) == (1.0, 3.0)
    assert (outcome.result["step"], outcome.result["steps"], outcome.result["stopped_early"]) == (1, 2, True)
    assert [checkpoint["step"] for checkpoint in recorder.checkpoints] == [1, 2]


def test_stop_that_is_asked_meanwhile_is_heard_before_the_first_step(llama: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.stop_requested = lambda: 0 in recorder.of("eval")  # type: ignore[method-assign]
    with pytest.raises(Stopped, match="step 0"):
        run(asked(llama, tmp_path), recorder)
    assert (recorder.steps, recorder.checkpoints) == ([], [])


@pytest.mark.compat
def test_failure_of_it_costs_nothing_else(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, recorder = TextGeneration.metrics, Recorder()

    def fail_at_first(*arguments: Any) -> Any:
        if not recorder.steps:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return original(*arguments)

    monkeypatch.setattr(TextGeneration, "metrics", fail_at_first)
    outcome = run(asked(llama, tmp_path, max_steps=2), recorder)
    assert list(recorder.of("eval")) == [2]
    assert "before_training" not in outcome.result
    (warning,) = [message for kind, message, _ in recorder.events if kind == "warning"]
    assert warning == "Nothing is known of the model before training: memory ran out."


def test_table_that_a_model_keeps_of_it_serves_the_training(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, evaluations made tensors of inference mode, which autograd refuses to save."""
    original, tables = LlamaRotaryEmbedding.forward, dict[Any, Any]()

    def kept(self: Any, x: Any, position_ids: Any) -> Any:
        return tables.setdefault(tuple(position_ids.flatten().tolist()), original(self, x, position_ids))

    monkeypatch.setattr(LlamaRotaryEmbedding, "forward", kept)
    training = {"max_steps": 2, "batch_size": 12, "packing": False, "sample_prompts": 1}
    spec_rows = asked(llama, tmp_path, asa=False, **training)
    assert run(spec_rows, Recorder()).result["steps"] == 2
