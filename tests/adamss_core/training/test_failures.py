from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from adamss_core.training import evaluation
from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.errors import TrainingError
from adamss_core.training.loop import Trainer
from adamss_core.training.run import run
from adamss_core.training.step import OptimizerStep
from tests.adamss_core.training.chats import build_llama, chats, generation_job
from tests.adamss_core.training.support import Recorder, build_model, build_tokenizer, job, request, texts

pytestmark = pytest.mark.slow

Gradients = Callable[[OptimizerStep, list[int], int], Tensor]


def poisoned(monkeypatch: pytest.MonkeyPatch, at: int, poison: Callable[[OptimizerStep, Tensor], Tensor]) -> None:
    """Changes the loss or the gradients of one step."""
    original: Gradients = OptimizerStep._gradients
    calls = iter(range(1, 10_000))

    def gradients(self: OptimizerStep, rows: list[int], micro_batch: int) -> Tensor:
        loss = original(self, rows, micro_batch)
        return poison(self, loss) if next(calls) == at else loss

    monkeypatch.setattr(OptimizerStep, "_gradients", gradients)


def infinite_loss(_: OptimizerStep, loss: Tensor) -> Tensor:
    return loss * math.inf


def nan_gradient(step: OptimizerStep, loss: Tensor) -> Tensor:
    parameter = step.optimizer.param_groups[0]["params"][0]
    parameter.grad[0] = math.nan
    return loss


@pytest.mark.parametrize("poison", [infinite_loss, nan_gradient])
def test_a_loss_that_is_not_finite_ends_the_run_at_once(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poison: Callable[[OptimizerStep, Tensor], Tensor]
) -> None:
    poisoned(monkeypatch, 6, poison)
    recorder = Recorder()
    with pytest.raises(TrainingError, match="step 6") as caught:
        run(request(model, tmp_path, spec=job(training={"checkpoint_steps": 2})), recorder)
    assert (caught.value.code, caught.value.deterministic) == ("nan_loss", True)
    assert "learning_rate" in caught.value.hint
    assert [step["step"] for step in recorder.steps] == [1, 2, 3, 4, 5]
    store = CheckpointStore(tmp_path / "checkpoints", 2)
    assert (store.steps(), store.problem(4)) == ([2, 4], None)
    json.dumps(recorder.rows, allow_nan=False)


def test_too_little_memory_halves_what_goes_through_the_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Gradients = OptimizerStep._gradients
    tried: list[int] = []

    def gradients(self: OptimizerStep, rows: list[int], micro_batch: int) -> Tensor:
        tried.append(micro_batch)
        if micro_batch > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(self, rows, micro_batch)

    monkeypatch.setattr(OptimizerStep, "_gradients", gradients)
    recorder = Recorder()
    outcome = run(request(model, tmp_path, spec=job(training={"max_steps": 24})), recorder)
    assert tried[:4] == [8, 4, 2, 2]
    assert [data["micro_batch"] for name, _, data in recorder.events if name == "micro_batch_halved"] == [4, 2]
    assert outcome.result["steps"] == 24  # the effective batch is the same


def test_no_memory_for_a_single_row_is_an_error(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(OptimizerStep, "_gradients", gradients)
    with pytest.raises(TrainingError, match="Memory ran out") as caught:
        run(request(model, tmp_path), Recorder())
    assert caught.value.code == "out_of_memory"


def test_held_out_rows_that_are_too_much_at_once_go_in_smaller_pieces(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same result; and before each piece the run says that it is alive."""
    spec = job(training={"max_steps": 21, "batch_size": 8})
    plain = run(request(model, tmp_path / "plain", spec=spec), Recorder())
    original, sizes = evaluation._predicted, list[int]()

    def scarce(*arguments: Any) -> Any:
        sizes.append(len(arguments[4]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(*arguments)

    asked: list[int] = []
    recorder = Recorder()

    def stop_requested() -> bool:
        asked.append(len(sizes))
        return False

    monkeypatch.setattr(recorder, "stop_requested", stop_requested)
    monkeypatch.setattr(evaluation, "_predicted", scarce)
    outcome = run(request(model, tmp_path / "scarce", spec=spec), recorder)
    assert outcome.result["eval_loss"] == pytest.approx(plain.result["eval_loss"], rel=1e-5)
    assert [row["row"] for row in outcome.hardest] == [row["row"] for row in plain.hardest]
    assert {8, 4, 2} <= set(sizes)
    assert set(range(len(sizes))) <= set(asked)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device that is always full is Linux's")
def test_a_full_disk_keeps_the_older_checkpoint(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Trainer._write

    def write(self: Trainer, folder: Path, streams: dict[str, Tensor]) -> None:
        original(self, folder, streams)
        if self.adapter.progress.step == 4:
            Path("/dev/full").write_bytes(b"x")

    monkeypatch.setattr(Trainer, "_write", write)
    asked = request(model, tmp_path, spec=job(training={"checkpoint_steps": 2}))
    with pytest.raises(TrainingError) as caught:
        run(asked, Recorder())
    assert (caught.value.code, caught.value.deterministic) == ("disk_full", False)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]
    monkeypatch.undo()
    recorder = Recorder()
    run(asked, recorder)
    assert recorder.resumed_at == [2]


def test_one_class_and_no_rows(model: Path, tmp_path: Path) -> None:
    for rows in ([row | {"label": "same"} for row in texts(20)], []):
        with pytest.raises(TrainingError) as caught:
            run(request(model, tmp_path, rows), Recorder())
        assert (caught.value.code, caught.value.deterministic) == ("bad_data", True)


def test_a_model_without_tokenizer(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "model", tokenizer=False)
    with pytest.raises(TrainingError, match="no tokenizer") as caught:
        run(request(folder, tmp_path / "job"), Recorder())
    assert caught.value.code == "missing_tokenizer"


@pytest.mark.parametrize("damage", ["pickle", "cut", "other", "missing"])
def test_a_model_that_cannot_be_loaded(model: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    weights = folder / "model.safetensors"
    if damage == "pickle":
        torch.save({}, folder / "pytorch_model.bin")
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "other":
        config = json.loads((folder / "config.json").read_text()) | {"hidden_size": 48}
        (folder / "config.json").write_text(json.dumps(config))
    else:
        weights.unlink()
    with pytest.raises(TrainingError) as caught:
        run(request(folder, tmp_path / "job"), Recorder())
    assert caught.value.code == "model_load_failed"
    assert str(tmp_path) not in caught.value.message


def test_a_tokenizer_with_more_tokens_than_rows(model: Path, tmp_path: Path) -> None:
    """As where a padding token was added and the embeddings were not resized: found at the first row, if at all."""
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[OTHER]"})
    tokenizer.save_pretrained(folder)
    with pytest.raises(TrainingError, match="gives 46 token ids, but the model's embeddings have 45 rows") as caught:
        run(request(folder, tmp_path / "job"), Recorder())
    assert (caught.value.code, caught.value.where, caught.value.deterministic) == (
        "tokenizer_mismatch", "base_model", True,
    )  # fmt: skip
    assert "resize_token_embeddings(46)" in caught.value.hint


def test_a_padding_token_of_the_config_without_a_row(model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text()) | {"pad_token_id": 45}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrainingError, match=r"pad_token_id in the model's config\.json is 45") as caught:
        run(request(folder, tmp_path / "job"), Recorder())
    assert "the tokenizer's padding token" in caught.value.hint


@pytest.mark.filterwarnings("ignore:Model (has|with) .tie_word_embeddings=True.")
@pytest.mark.parametrize("adamss", [{"target_modules": ["q_proj", "lm_head"]}, {"modules_to_save": ["embed_tokens"]}])
def test_tied_embeddings_are_trained_and_published(tmp_path: Path, adamss: dict[str, Any]) -> None:
    """They were trained to the end, and the merged model could not be verified; then they were refused."""
    folder = build_llama(tmp_path / "model")
    tied = LlamaForCausalLM.from_pretrained(folder, tie_word_embeddings=True)
    tied.tie_weights()
    tied.save_pretrained(folder)
    names = ["adapter", "lora", "merged"]
    spec = generation_job(adamss=adamss, artifacts=names)
    published = run(request(folder, tmp_path / "job", chats(20), spec=spec), Recorder()).artifacts
    assert [artifact.name for artifact in published] == names


def test_fp16_on_a_cpu_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        run(request(model, tmp_path, spec=job(training={"precision": "fp16"})), Recorder())
    assert caught.value.code == "unsupported_precision"


def test_a_schedule_that_the_rows_cannot_reach(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="final_warmup is 20") as caught:
        run(request(model, tmp_path, texts(40), spec=job()), Recorder())
    assert (caught.value.code, caught.value.where) == ("schedule_unreachable", "adamss.final_warmup")
