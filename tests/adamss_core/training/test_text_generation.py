"""Runs of text generation on a tiny LLaMA that learns to answer."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from adamss_core.training import length_policy
from adamss_core.training.batches import Encoded
from adamss_core.training.data import Data, describe_split
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.length_policy import encode_data
from adamss_core.training.run import run
from adamss_core.training.tasks.text_generation import TextGeneration, shifted
from adamss_core.training.tasks.text_generation_packing import (
    PackedExamples,
    PaddedExamples,
    packed,
    why_not_packed,
)
from adamss_core.training.tasks.text_generation_spans import Example
from tests.adamss_core.training.chats import (
    TEMPLATE,
    build_chat_tokenizer,
    build_llama,
    chats,
    completions,
    generation_job,
)
from tests.adamss_core.training.support import FinishedRun, Recorder, request, write_rows
from tests.models import tiny_gpt2, tiny_llama

pytestmark = pytest.mark.slow

ALL: list[Any] = ["adapter", "lora", "merged"]


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llama(tmp_path_factory.mktemp("llama") / "model")


@pytest.fixture(scope="module")
def talked(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run on chats, packed."""
    asked = request(llama, tmp_path_factory.mktemp("chats"), chats(160), spec=generation_job(artifacts=ALL))
    recorder = Recorder()
    return FinishedRun(asked, recorder, run(asked, recorder))


def examples(lengths: list[int], vocabulary: int = 100, seed: int = 0) -> Encoded:
    """Random ids; the second half of each example is learnt."""
    source = np.random.default_rng(seed)
    made = []
    for length in lengths:
        learnt = np.arange(length) >= length // 2
        made.append(Example(source.integers(3, vocabulary, length).astype(np.int32), learnt, False))
    targets = [shifted(example) for example in made]
    return Encoded(
        [{"input_ids": example.ids} for example in made],
        targets,
        torch.tensor(lengths),
        torch.tensor([int((target >= 0).sum()) for target in targets]),
    )


def loss_and_gradients(model: nn.Module, collate: Any, data: Encoded) -> tuple[float, list[Tensor]]:
    task = TextGeneration(generation_job())
    inputs, targets = collate(data, list(range(len(data))))
    loss = task.losses(model(**inputs), targets).sum() / data.loss_terms.sum()
    model.zero_grad()
    loss.backward()
    return float(loss.detach()), [p.grad.clone() for p in model.parameters() if p.grad is not None]


# --- packing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_loss_and_gradients_are_those_of_single_rows(attention: str) -> None:
    data = examples([5, 9, 3, 12, 7, 4, 6, 2])
    for model in (tiny_llama(), tiny_gpt2()):
        model.set_attn_implementation(attention)
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        alone, expected = loss_and_gradients(model, PaddedExamples(0, torch.device("cpu")), data)
        packing = PackedExamples(0, 20, torch.device("cpu"))
        inputs, _ = packing(data, list(range(len(data))))
        assert len(inputs["input_ids"]) < len(data) / 2
        together, found = loss_and_gradients(model, packing, data)
        assert together == pytest.approx(alone, rel=1e-6)
        for one, other in zip(expected, found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_rows_are_filled_first_fit() -> None:
    assert packed([3, 9, 5, 1], 10) == [[1, 3], [2, 0]]
    assert packed([12, 2], 10) == [[0], [1]]
    lengths = torch.randint(1, 30, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    bins = packed(lengths, 32)
    assert sorted(place for row in bins for place in row) == list(range(200))
    assert all(sum(lengths[place] for place in row) <= 32 for row in bins)
    assert len(bins) <= 1.1 * math.ceil(sum(lengths) / 32)


class NoPositions(nn.Module):
    """Sees all tokens of a row, whatever their positions."""

    def __init__(self, *, positions: bool) -> None:
        super().__init__()
        self.inner = tiny_llama()
        if positions:
            self.forward = self.with_positions  # type: ignore[method-assign]

    device = torch.device("cpu")

    def get_base_model(self) -> nn.Module:
        return self

    def forward(self, input_ids: Tensor, **options: Any) -> Any:
        return self.inner(input_ids=input_ids)

    def with_positions(self, input_ids: Tensor, position_ids: Tensor | None = None, **options: Any) -> Any:
        return self.inner(input_ids=input_ids)


def test_models_that_cannot_take_packed_rows_are_found_out() -> None:
    data = examples([8, 12])
    assert why_not_packed(NoPositions(positions=False), data, 0) == "it takes no position ids"
    assert "depend on the row's other examples" in str(why_not_packed(NoPositions(positions=True), data, 0))


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_chat_model_learns_and_its_artifacts_answer(talked: FinishedRun, tmp_path: Path) -> None:
    result, recorder = talked.outcome.result, talked.recorder
    losses = [values["loss"] for values in recorder.of("train").values()]
    assert losses[0] is not None
    assert result["eval_perplexity"] < 0.3 * math.exp(losses[0])
    assert result["eval_perplexity"] < 0.9 * result["baseline"]["perplexity"]
    assert result["baseline"]["predicts"] == "what the base model does"
    assert result["baseline"]["loss"] == pytest.approx(result["before_training"]["eval_loss"], rel=1e-4)
    assert (result["judgement"]["method"], result["judgement"]["no_better"]) == ("paired bootstrap", False)
    assert [warning["code"] for warning in result["warnings"]] == ["few_held_out_rows"]  # 16
    assert result["eval_perplexity"] == pytest.approx(math.exp(result["eval_loss"]))
    assert [file.name for file in talked.outcome.artifacts] == ALL
    assert "packing_off" not in recorder.event_types()


def test_answers_are_compared_with_the_datas(talked: FinishedRun) -> None:
    (report,) = talked.outcome.evaluation
    assert report["generation"]["rows"] == len(report["answers"]) == min(20, report["rows"])
    assert report["generation"]["rouge_l"] > 0.3
    assert {entry["row"] for entry in report["answers"]} <= {row["row"] for row in talked.outcome.hardest}
    with zipfile.ZipFile(talked.outcome.artifacts[0].path) as archive:
        (published,) = json.loads(archive.read("evaluation.json"))["reports"]
    left_out = ("answers", "row_results")  # no texts of the data, and nothing for each of its rows
    assert published == {name: part for name, part in report.items() if name not in left_out}


def test_samples_are_written_at_each_evaluation(talked: FinishedRun) -> None:
    told = [data for kind, _, data in talked.recorder.events if kind == "samples"]
    assert [data["step"] for data in told] == list(talked.recorder.of("eval"))
    for data in told:
        assert len(data["samples"]) == 2
    sample = told[-1]["samples"][0]
    assert sample["prompt"].endswith("<|assistant|>")
    assert sample["expected"].startswith("It is ")
    assert sample["completion"].startswith("It is")
    assert sample["ended"]


def test_packing_and_micro_batches_leave_the_training_as_it_is(
    talked: FinishedRun, llama: Path, tmp_path: Path
) -> None:
    """As far as rounding goes: 36 steps with the same rows each."""
    changes = {"packing": False, "batch_size": 4, "gradient_accumulation_steps": 2}
    recorder = Recorder()
    outcome = run(request(llama, tmp_path, chats(160), spec=generation_job(training=changes)), recorder)
    assert outcome.result["steps"] == talked.outcome.result["steps"]
    assert outcome.result["eval_loss"] == pytest.approx(talked.outcome.result["eval_loss"], rel=1e-3)


def test_a_stopped_run_goes_on_bit_equal(talked: FinishedRun, llama: Path, tmp_path: Path) -> None:
    asked = request(llama, tmp_path, chats(160), spec=generation_job())
    with pytest.raises(Stopped):
        run(asked, Recorder(stop_at=11))
    again = run(asked, Recorder())
    assert again.result["eval_loss"] == talked.outcome.result["eval_loss"]
    assert (
        again.artifacts[0].manifest["files"]["adapter_model.safetensors"]
        == (talked.outcome.artifacts[0].manifest["files"]["adapter_model.safetensors"])
    )


def test_completions_with_over_long_and_empty_ones(llama: Path, tmp_path: Path) -> None:
    rows = completions(60)
    rows[3]["completion"] = "  "
    rows[5]["prompt"] *= 20  # nothing is left of its completion
    rows[7]["completion"] *= 20
    spec = generation_job(training={"max_steps": 2, "max_length": 24})
    recorder = Recorder()
    result = run(request(llama, tmp_path, rows, spec=spec), recorder).result
    told = {kind: data for kind, _, data in recorder.events}
    assert told["rows_left_out"]["reasons"] == {"without a completion": 1}
    assert told["rows_left_out"]["first_rows"] == {"without a completion": 4}
    assert told["rows_truncated"]["rows"] == 2
    assert told["rows_without_targets"]["rows"] == 1
    assert result["train_rows"] + result["eval_rows"] == 58


def test_many_rows_without_targets_are_a_reason_to_doubt(llama: Path, tmp_path: Path) -> None:
    """Once, a run succeeded on 4 of 36 rows, and only its events said so."""
    rows = completions(40)
    for row in rows[:30]:
        row["prompt"] *= 20
    spec = generation_job(training={"max_steps": 2, "max_length": 24})
    [warning, *_] = run(request(llama, tmp_path, rows, spec=spec), Recorder()).result["warnings"]
    assert warning["code"] == "rows_without_targets"
    assert "training rows are left out: they have nothing to learn within their first 24 tokens." in warning["message"]
    assert warning["message"].endswith("Raise training.max_length as far as the model allows, or shorten the texts.")


# Says "hm." before the last answer only, so that each answer is trained in a chat that ends with it.
LAST_HUMS = TEMPLATE.replace(
    "m['content']", "('hm. ' if m['role'] == 'assistant' and loop.last else '') + m['content']"
)


def three_turns_of_40_chats() -> list[dict[str, Any]]:
    """The third chat is of three turns, of which the last is too long."""
    rows = chats(40)
    rows[2]["messages"] = [
        *chats(1, seed=3)[0]["messages"][:2],
        *rows[3]["messages"][:2],
        {"role": "user", "content": "And coal?" * 20},
        {"role": "assistant", "content": "It is black."},
    ]
    return rows


def test_rows_with_several_examples_are_counted_as_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length_policy, "PIECE", 7)
    talks = three_turns_of_40_chats()
    spec = generation_job(training={"over_length": "drop"})
    task = TextGeneration(spec)
    rows = task.read(write_rows(tmp_path / "train.jsonl", talks))
    evaluation = rows.take([0, 1])
    recorder = Recorder()
    data = Data(rows, evaluation, [], describe_split(evaluation, own_file=True, seed=0, stratified=False))
    data, train, _ = encode_data(task, data, build_chat_tokenizer(LAST_HUMS), 64, recorder)
    events = {(kind, facts["data"]): facts for kind, _, facts in recorder.events if kind != "rows_encoded"}
    turns = sum(len(talk["messages"]) // 2 for talk in talks)
    several = sum(len(talk["messages"]) > 2 for talk in talks)
    assert events["rows_split", "training"] == {"data": "training", "of": 40, "rows": several, "examples": turns}
    dropped = events["rows_dropped", "training"]
    assert (dropped["rows"], dropped["examples"], dropped["of"]) == (1, 1, 40)
    assert (len(train), len(data.train), data.train.row_count) == (turns - 1, turns - 1, 40)
    assert data.train.numbers[:5] == sorted(data.train.numbers)[:5]
    assert data.held_out == describe_split(evaluation, own_file=True, seed=0, stratified=False)
    tokenizer = build_chat_tokenizer()
    for entry, features in zip(data.train.cells(), train.features, strict=True):
        answer = entry["messages"][-1]["content"]
        assert str(tokenizer.decode(features["input_ids"])).endswith(f"hm. {answer}<|end|>")


@pytest.mark.compat
def test_stopped_run_on_split_rows_resumes_bit_equal(tmp_path: Path) -> None:
    model = build_llama(tmp_path / "model", template=LAST_HUMS)
    spec = generation_job(training={"max_steps": 4, "eval_steps": 2, "over_length": "drop"})
    whole = run(request(model, tmp_path / "whole", three_turns_of_40_chats(), spec=spec), Recorder()).result
    asked = request(model, tmp_path / "stopped", three_turns_of_40_chats(), spec=spec)
    with pytest.raises(Stopped):
        run(asked, Recorder(stop_at=2))
    resumed = run(asked, Recorder()).result
    assert (resumed["eval_loss"], resumed["held_out"]) == (whole["eval_loss"], whole["held_out"])
    assert (whole["train_rows"], whole["eval_rows"]) == (36, 4)


@pytest.mark.parametrize(
    ("rows", "training", "wrong"),
    [
        (completions(20), {"over_length": "raise", "max_length": 6}, "longer than 6 tokens, such as row 1"),
        (completions(20), {"max_length": 5}, "has anything to learn within its first 5 tokens"),
        ([{"messages": [{"role": "user", "content": "Hm?"}]}] * 20, {}, "20 where the row holds a chat in which"),
        ([{"messages": "no list"}] * 20, {}, "No row has anything to learn: 20 without messages"),
    ],
)
def test_data_that_cannot_be_trained_on(
    llama: Path, tmp_path: Path, rows: list[dict[str, Any]], training: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(TrainingError, match=wrong) as caught:
        run(request(llama, tmp_path, rows, spec=generation_job(training=training)), Recorder())
    assert caught.value.code == "bad_data"


def test_chats_for_a_model_without_a_template(tmp_path: Path) -> None:
    model = build_llama(tmp_path / "model", template=None)
    with pytest.raises(TrainingError, match="has no chat template"):
        run(request(model, tmp_path / "run", chats(20), spec=generation_job()), Recorder())


def test_answers_to_prompts_texts_and_chats(llama: Path) -> None:
    task = TextGeneration(generation_job())
    model = AutoModelForCausalLM.from_pretrained(llama).eval()
    tokenizer = AutoTokenizer.from_pretrained(llama)
    asked: list[dict[str, Any]] = [
        {"prompt": "What colour is snow?"},
        {"text": "It is" * 200},
        {"messages": chats(1)[0]["messages"][:1]},
    ]
    found = task.predict(model, tokenizer, asked, 64, max_new_tokens=5)
    assert found == task.predict(model, tokenizer, asked, 64, max_new_tokens=5)
    assert [set(answer) for answer in found] == [{"text", "tokens", "ended"}] * 3
    assert {part.key for part in task.record.answer_columns} <= set(found[0])
    assert all(0 < answer["tokens"] <= 5 for answer in found)
    before = torch.get_rng_state()
    warm = [task.predict(model, tokenizer, asked, 64, max_new_tokens=5, temperature=2.0, seed=n) for n in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2]
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(TrainingError, match="refused by the model's chat template"):
        task.predict(model, tokenizer, [{"messages": [{"role": "user"}]}], 64)


def test_other_data_to_evaluate_on(llama: Path, tmp_path: Path) -> None:
    """Plain text; sampled from its opening."""
    texts = [{"text": f"What colour is it? It is {row['completion']}"} for row in completions(40)]
    held = write_rows(tmp_path / "eval.jsonl", texts[:6])
    spec = generation_job(
        dataset={"train": "ds_" + "a" * 12, "eval": "ds_" + "b" * 12}, training={"max_steps": 2, "sample_prompts": 1}
    )
    recorder = Recorder()
    result = run(request(llama, tmp_path / "run", texts, spec=spec, eval_file=held), recorder).result
    assert (result["train_rows"], result["eval_rows"]) == (40, 6)
    (sample,) = next(data for kind, _, data in recorder.events if kind == "samples")["samples"]
    assert texts[0]["text"] == sample["prompt"] + sample["expected"]
