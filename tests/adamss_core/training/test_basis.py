"""A run whose adapter has its basis from the rows: calibrated once, within its cost, and never anew after a stop."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from adamss_core.spec import JobSpec
from adamss_core.training import basis as calibration
from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.preparation import prepare
from adamss_core.training.run import run
from adamss_core.training.setup import make_accelerator
from benchmarks.tiny_families import seq2seq_t5
from tests.adamss_core.training.chats import build_llama, chats, completions, generation_job
from tests.adamss_core.training.support import Recorder, job, request, texts
from tests.adamss_core.training.tasks.support import build_vit, draw_images, tagged, task_job

ONE_STEP: dict[str, Any] = {"max_steps": 1}


def bases_of(tensors: dict[str, Tensor]) -> list[Tensor]:
    return [value for name, value in sorted(tensors.items()) if ".adamss_newB" in name]


def prepared(model: Path, folder: Path, basis: str, rows: Any = None, **training: Any) -> tuple[Any, Any, Recorder]:
    spec = job(adamss={"use_asa": False, "basis": basis}, training=ONE_STEP | training)
    recorder = Recorder()
    setup, adapted = prepare(request(model, folder, rows, spec=spec), recorder, make_accelerator(spec), None)
    return setup, adapted, recorder


@pytest.mark.parametrize("basis", ["inputs", "gradient"])
def test_the_basis_changes_and_nothing_else(basis: str, model: Path, tmp_path: Path) -> None:
    setup, adapted, recorder = prepared(model, tmp_path, basis)
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    facts = calibration.calibrate_basis(setup, adapted)
    changed = {name for name, value in adapted.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if ".adamss_newB." in name}
    assert [name for name, parameter in adapted.named_parameters() if parameter.requires_grad] == trained
    assert all(parameter.grad is None for parameter in adapted.parameters())
    kind, message, data = recorder.events[-1]
    assert kind == "adapter_calibrated"
    assert facts is not None
    assert facts == {name: data[name] for name in ("basis", "row_share", "rows", "seconds", "share", "caught")}
    shares = sorted(data["modules"].values())
    assert len(shares) == 4
    assert 0 < data["caught"]["least"] == shares[0] <= data["caught"]["median"] <= shares[-1] <= 1
    assert f"catch {data['caught']['median']:.0%} of these rows' energy" in message
    assert (data["rows"], data["kept"]) == (32, [])
    assert "by 32 training rows: the basis comes from the" in message
    assert f"It took {data['seconds']:.1f} s, about {data['share']:.1%}" in message


def test_a_share_of_the_rows_is_counted_resumed_and_published(model: Path, tmp_path: Path) -> None:
    spec = job(adamss={"row_share": 0.5, "basis": "inputs"}, training={"max_steps": 24})
    asked = request(model, tmp_path / "stopped", spec=spec)
    with pytest.raises(Stopped):
        run(asked, Recorder(stop_at=21))
    recorder = Recorder()
    outcome = run(asked, recorder)
    (size,) = recorder.sizes
    assert size.adapter_parameters == 4 * (4 * 12 + 16)
    assert outcome.result["calibration"]["row_share"] == 0.5
    whole = request(model, tmp_path / "whole", spec=spec)
    run(whole, events := Recorder())
    assert events.sizes == recorder.sizes
    assert any("50% of each module's rows are trained" in message for _, message, _ in events.events)
    folders = [CheckpointStore(tmp_path / name / "checkpoints", 1).path(24) for name in ("whole", "stopped")]
    one, other = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in folders)
    assert all(torch.equal(one[name], other[name]) for name in one)
    stored = [value for name, value in one.items() if name.endswith(".adamss_rows")]
    assert [int((rows < 0).sum()) for rows in stored] == [16] * 4


def test_weights_are_not_calibrated(model: Path, tmp_path: Path) -> None:
    setup, adapted, recorder = prepared(model, tmp_path, "weights")
    assert calibration.calibrate_basis(setup, adapted) is None
    assert "adapter_calibrated" not in recorder.event_types()


def test_the_cache_gives_no_basis_of_other_rows(model: Path, tmp_path: Path) -> None:
    found: list[list[Tensor]] = []
    for seed in (0, 0, 1):
        setup, adapted, _ = prepared(model, tmp_path / str(len(found)), "inputs", texts(208, seed=seed))
        calibration.calibrate_basis(setup, adapted)
        found.append(bases_of(adapted.state_dict()))
    assert all(torch.equal(one, same) for one, same in zip(found[0], found[1], strict=True))
    assert not any(torch.allclose(one, other, atol=1e-3) for one, other in zip(found[0], found[2], strict=True))


def test_too_little_memory_takes_smaller_batches(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, small = (prepared(model, tmp_path / name, "gradient") for name in ("whole", "small"))
    calibration.calibrate_basis(*whole[:2])
    loss = calibration._loss

    def limited(setup: Any, adapted: Any, rows: list[int]) -> Tensor:
        if len(rows) > 2:
            raise RuntimeError("CUDA out of memory")
        return loss(setup, adapted, rows)

    monkeypatch.setattr(calibration, "_loss", limited)
    # The head takes more steps with smaller batches, so the gradients are not the same.
    assert calibration.calibrate_basis(*small[:2]) is not None


def test_gradients_that_are_not_finite_end_the_run(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = calibration._loss
    monkeypatch.setattr(calibration, "_loss", lambda *arguments: loss(*arguments) * float("nan"))
    spec = job(adamss={"use_asa": False, "basis": "gradient"}, training=ONE_STEP)
    with pytest.raises(TrainingError, match=r"gradients of 'bert\.encoder\.layer\.0\.") as caught:
        run(request(model, tmp_path, spec=spec), Recorder())
    assert caught.value.code == "calibration_failed"
    assert "fp32 or bf16" in caught.value.hint


def case(kind: str, model: Path, folder: Path) -> tuple[Path, list[dict[str, Any]], JobSpec]:
    """A base, rows and a job of one step, its basis left out."""
    if kind == "encoder-decoder":
        torch.manual_seed(0)
        seq2seq_t5(folder / "t5")
        return folder / "t5", completions(20), generation_job(training=ONE_STEP | {"sample_prompts": 0})
    if kind == "text-generation":
        training = ONE_STEP | {"sample_prompts": 0, "gradient_checkpointing": True}
        return build_llama(folder / "llama"), chats(20), generation_job(training=training)
    spec = task_job(kind, training=ONE_STEP)
    if kind == "image-classification":
        return build_vit(folder / "vit"), draw_images(folder / "train", 12), spec
    return model, tagged(20), spec


@pytest.mark.parametrize("basis", ["inputs", "gradient"])
@pytest.mark.parametrize("kind", ["encoder-decoder", "text-generation", "image-classification", "token-classification"])
def test_every_task_and_a_quantised_base(kind: str, basis: str, model: Path, tmp_path: Path) -> None:
    base, rows, spec = case(kind, model, tmp_path)
    bits = "4bit" if kind == "text-generation" and find_spec("bitsandbytes") else None
    adamss = spec.adamss.model_copy(update={"basis": basis, "use_asa": False})
    spec = spec.model_copy(
        update={"adamss": adamss, "training": spec.training.model_copy(update={"quantization": bits})}
    )
    recorder = Recorder()
    setup, adapted = prepare(request(base, tmp_path, rows, spec=spec), recorder, make_accelerator(spec), None)
    before = [value.clone() for value in bases_of(adapted.state_dict())]
    calibration.calibrate_basis(setup, adapted)
    assert recorder.events[-1][2]["kept_count"] == 0
    for old, new in zip(before, bases_of(adapted.state_dict()), strict=True):
        assert not torch.allclose(old, new, atol=1e-2)
        torch.testing.assert_close(new @ new.t(), torch.eye(len(new)), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_resumed_run_has_its_basis(model: Path, tmp_path: Path) -> None:
    spec = job(adamss={"basis": "gradient"}, training={"max_steps": 24})
    whole = Recorder()
    result = run(request(model, tmp_path / "whole", spec=spec), whole).result
    asked = request(model, tmp_path / "stopped", spec=spec)
    with pytest.raises(Stopped):
        run(asked, Recorder(stop_at=9))
    second = Recorder()
    resumed = run(asked, second).result
    assert whole.event_types().count("adapter_calibrated") == 1
    assert "adapter_calibrated" not in second.event_types()
    assert resumed["calibration"]["basis"] == result["calibration"]["basis"] == "gradient"
    folders = [CheckpointStore(tmp_path / name / "checkpoints", 1).path(24) for name in ("whole", "stopped")]
    one, other = (load_file(folder / "adapter" / "adapter_model.safetensors") for folder in folders)
    assert len(bases_of(one)) == 4
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_warm_start_takes_the_basis_over_or_is_refused(model: Path, tmp_path: Path) -> None:
    def spec(basis: str, **fields: Any) -> Any:
        return job(adamss={"use_asa": False, "basis": basis}, training=ONE_STEP, **fields)

    archive = run(request(model, tmp_path / "first", spec=spec("inputs")), Recorder()).artifacts[0].path
    fields = {"init_from": "job_before12"}
    recorder = Recorder()
    rows = texts(100, seed=5)
    again = run(request(model, tmp_path / "again", rows, spec=spec("inputs", **fields), init_from=archive), recorder)
    assert "adapter_calibrated" not in recorder.event_types()
    assert "calibration" not in again.result
    fewer = job(adamss={"use_asa": False, "basis": "inputs", "row_share": 0.5}, training=ONE_STEP, **fields)
    for other, says in (
        (spec("weights", **fields), "adamss.basis is weights here and inputs there"),
        (spec("gradient", **fields), "adamss.basis is gradient here and inputs there"),
        (fewer, "adamss.row_share is 0.5 here and 1.0 there"),
    ):
        with pytest.raises(TrainingError, match=says) as caught:
            run(request(model, tmp_path / "other", spec=other, init_from=archive), Recorder())
        assert caught.value.code == "init_from_unusable"
    third = request(model, tmp_path / "third", spec=spec("inputs", **fields), init_from=again.artifacts[0].path)
    run(third, Recorder())  # the second one says in its manifest where its basis is from
