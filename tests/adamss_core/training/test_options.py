"""Ways to train that trade time, memory and precision; each on the tiny LLaMA that learns to answer."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from adamss_core.training import compilation
from adamss_core.training.activation_checkpointing import checkpoint_activations
from adamss_core.training.batches import Encoded
from adamss_core.training.errors import TrainingError
from adamss_core.training.prefetch import Prefetch
from adamss_core.training.request import RunResult
from adamss_core.training.run import run
from tests.adamss_core.training.chats import build_llama, chats, generation_job
from tests.adamss_core.training.support import Recorder, build_model, job, request
from tests.marks import compat

pytestmark = pytest.mark.slow

ASA = {"use_asa": True, "asa_target_subspaces": 20, "init_warmup": 1, "final_warmup": 5, "mask_interval": 2}
ADAMSS = {"r": 16, "num_subspaces": 3, "target_modules": "all-linear", "subspace_rank": 2}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_llama(tmp_path_factory.mktemp("options") / "model")


def trained(llama: Path, folder: Path, *, adamss: dict[str, Any] = ASA, **training: Any) -> tuple[RunResult, Recorder]:
    spec = generation_job(adamss=ADAMSS | adamss, training={"max_steps": 8, "sample_prompts": 0, **training})
    recorder = Recorder()
    return run(request(llama, folder, chats(80), spec=spec), recorder), recorder


@pytest.fixture(scope="module")
def plain(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return trained(llama, tmp_path_factory.mktemp("plain"))[0]


def adapter_of(result: RunResult) -> Any:
    return result.artifacts[0].manifest["files"]["adapter_model.safetensors"]


@pytest.mark.parametrize("training", [{"gradient_checkpointing": True}, {"dataloader_workers": 2}])
def test_the_adapter_is_the_same_to_the_bit(
    plain: RunResult, llama: Path, tmp_path: Path, training: dict[str, Any]
) -> None:
    result, recorder = trained(llama, tmp_path, **training)
    assert adapter_of(result) == adapter_of(plain)
    assert "gradient_checkpointing_off" not in recorder.event_types()


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize(
    ("training", "gap"),
    [({"precision": "bf16"}, 0.05), compat({"quantization": "8bit"}, 0.1), ({"quantization": "4bit"}, 1.0)],
)
def test_rounder_numbers_learn_alike(
    plain: RunResult, llama: Path, tmp_path: Path, training: dict[str, Any], gap: float
) -> None:
    """What is published is checked against the base in full precision."""
    if "quantization" in training:
        pytest.importorskip("bitsandbytes")
    result, recorder = trained(llama, tmp_path, **training)
    assert result.result["eval_loss"] == pytest.approx(plain.result["eval_loss"], abs=gap)
    assert result.artifacts[0].manifest["verification"]["largest_difference"] < 1e-4
    assert "packing_off" not in recorder.event_types()


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_everything_trained_in_full_stays_in_full_precision(tmp_path: Path, bits: str) -> None:
    """The head, a pooler that the base's files lack, a module that the job names: quantised, none could be trained."""
    pytest.importorskip("bitsandbytes")
    folder = build_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    save_file({n: t for n, t in weights.items() if "pooler" not in n}, folder / "model.safetensors", {"format": "pt"})
    spec = job(
        adamss={"modules_to_save": ["encoder.layer.0.output.dense"]}, training={"max_steps": 24, "quantization": bits}
    )
    result = run(request(folder, tmp_path / "run", spec=spec), Recorder())
    assert result.artifacts[0].manifest["verification"]["largest_difference"] < 1e-4
    with zipfile.ZipFile(result.artifacts[0].path) as archive:
        saved = load(archive.read("adapter_model.safetensors"))
    for name in ("classifier", "pooler.dense", "layer.0.output.dense"):
        assert [t.dtype for n, t in saved.items() if n.endswith(f"{name}.weight")] == [torch.float32]


def test_without_bitsandbytes(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adamss_core.training.quantization.find_spec", lambda _: None)
    with pytest.raises(TrainingError, match="has no bitsandbytes") as caught:
        trained(llama, tmp_path, quantization="4bit")
    assert caught.value.code == "quantization_unavailable"


def test_without_a_compiler_the_model_is_trained_as_it_is(
    plain: RunResult, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result, recorder = trained(llama, tmp_path / "run", compile=True)
    assert "compile_off" in recorder.event_types()
    assert adapter_of(result) == adapter_of(plain)


def break_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: torch.nn.Module, **_: Any) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise RuntimeError("cannot generate code")

        self._compiled_call_impl = refuse

    monkeypatch.setattr(torch.nn.Module, "compile", broken)
    monkeypatch.setattr(compilation, "_has_compiler", lambda _: True)


def test_a_schedule_that_nobody_follows_does_not_stop_compiling(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ASA its fields stay "auto"."""
    break_compiler(monkeypatch)
    idle = {"use_asa": False, "init_warmup": "auto", "final_warmup": "auto", "mask_interval": "auto"}
    _, recorder = trained(llama, tmp_path, adamss=idle, compile=True)
    assert "compile_off" in recorder.event_types()


def test_a_compiler_that_fails_leaves_the_model_and_the_random_numbers_as_they_are(
    plain: RunResult, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_compiler(monkeypatch)
    result, recorder = trained(llama, tmp_path, compile=True)
    (reason,) = [text for kind, text, _ in recorder.events if kind == "compile_off"]
    assert "cannot generate code" in reason
    assert adapter_of(result) == adapter_of(plain)


def test_a_run_starts_where_another_has_ended(plain: RunResult, llama: Path, tmp_path: Path) -> None:
    """Pruned subspaces take part again, and the first loss is what the other run ended with."""
    spec = generation_job(
        adamss=ADAMSS, training={"max_steps": 1, "learning_rate": 1e-9, "sample_prompts": 0}, init_from="job_before12"
    )
    recorder = Recorder()
    asked = request(llama, tmp_path, chats(80), spec=spec, init_from=plain.artifacts[0].path)
    result = run(asked, recorder).result
    assert result["eval_loss"] == pytest.approx(plain.result["eval_loss"], abs=1e-4)
    assert result["pruning"]["active"] == result["pruning"]["total"] > plain.result["pruning"]["active"]
    assert "adapter_inherited" in recorder.event_types()


def test_adapters_that_cannot_be_started_from(plain: RunResult, llama: Path, tmp_path: Path) -> None:
    def refused(model: Path, archive: Path, adamss: dict[str, Any]) -> TrainingError:
        spec = generation_job(adamss=ADAMSS | adamss, training={"max_steps": 1}, init_from="job_before12")
        with pytest.raises(TrainingError) as caught:
            run(request(model, tmp_path / "run", chats(40), spec=spec, init_from=archive), Recorder())
        return caught.value

    archive = plain.artifacts[0].path
    assert "adamss.num_subspaces is 2 here and 3 there" in refused(llama, archive, {"num_subspaces": 2}).message
    assert "its modules differ" in refused(llama, archive, {"target_modules": ["q_proj"]}).message
    assert "cannot be read" in refused(llama, tmp_path / "gone.zip", {}).message
    other = build_llama(tmp_path / "other", seed=1)
    assert refused(other, archive, {}).code == "base_mismatch"


def test_batches_made_ahead_are_those_that_were_asked_for() -> None:
    data = Encoded(list(range(9)), torch.arange(9), torch.ones(9), torch.ones(9))
    made: list[list[int]] = []

    def collate(data: Encoded, rows: list[int]) -> Any:
        made.append(rows)
        return {"rows": rows}, torch.tensor(rows)

    batches = Prefetch(collate, data, 2)
    batches.expect([[0, 1], [2], [3], [4]])
    assert batches([0, 1])[0] == {"rows": [0, 1]}
    batches.expect([[2], [7]])
    assert [batches([rows])[0]["rows"] for rows in (2, 7, 8)] == [[2], [7], [8]]
    batches.close()
    assert [4] not in made, "no further ahead than there are threads"


def test_checkpointing_has_another_name_in_older_versions_of_transformers() -> None:
    class Older:
        asked: Any = None

        def gradient_checkpointing_enable(self, options: dict[str, Any]) -> None:
            self.asked = options

    model = Older()
    checkpoint_activations(model, Recorder())
    assert model.asked == {"use_reentrant": False}
