"""ASA in transformers' Trainer, and the summary that a user reads afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from adamss_core import AdamssAsaCallback
from tests.adamss_core.asa_training import active_set, asa_model, assert_same_state, layers_of, start, subspaces
from tests.marks import compat
from tests.models import batch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        # Trainer pins memory by default; the tests run without an accelerator.
        "ignore:'pin_memory' argument is set as true but no accelerator is found:UserWarning"
    ),
]

MAX_STEPS = 9  # asa_training.SCHEDULE's final_warmup


class Rows(Dataset[dict[str, Any]]):
    def __init__(self) -> None:
        self.data = batch(0, size=16)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: value[index] for key, value in self.data.items()}


def trainer(model: PeftModel, folder: Path, **arguments: Any) -> Trainer:
    fields: dict[str, Any] = {
        "max_steps": MAX_STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "weight_decay": 0.1,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 0,
    }
    made = TrainingArguments(output_dir=str(folder), **{**fields, **arguments})
    return Trainer(model=model, args=made, train_dataset=Rows(), callbacks=[AdamssAsaCallback()])


def losses(run: Trainer) -> list[float]:
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


def test_the_target_is_reached_at_the_last_step(tmp_path: Path) -> None:
    model = asa_model()
    run = trainer(model, tmp_path, save_strategy="no")
    run.train()
    assert len(active_set(model)) == 5
    assert {entry["pruned_at"] for _, entry, _, _ in subspaces(model) if not entry["active"]} <= {3, 6, 9}
    # The optimizer was handed over: pruned rows have left it.
    assert run.optimizer is not None
    held = sum(slots["exp_avg"].numel() for slots in run.optimizer.state.values())
    assert held == model.get_nb_trainable_parameters()[0]


@pytest.mark.parametrize(("stop", "target"), [(2, 1), compat(2, 5), compat(4, 1), (4, 5), compat(6, 1), compat(6, 5)])
def test_a_checkpoint_in_the_ramp_resumes_bit_identically(stop: int, target: int, tmp_path: Path) -> None:
    """From before, between and at mask steps, into a fresh model, as a new process would."""
    whole = trainer(asa_model(asa_target_subspaces=target), tmp_path)
    whole.train()
    resumed = trainer(asa_model(asa_target_subspaces=target), tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stop}"))
    assert losses(resumed) == losses(whole)
    assert_same_state(resumed.model, whole.model)
    assert len(active_set(resumed.model)) == target


def test_accumulation_clipping_and_bf16_in_the_trainer(tmp_path: Path) -> None:
    model = asa_model()
    arguments = {"gradient_accumulation_steps": 2, "max_grad_norm": 0.1, "bf16": True, "save_strategy": "no"}
    trainer(model, tmp_path, **arguments).train()
    assert len(active_set(model)) == 5
    for where, entry, a, b in subspaces(model):
        assert bool(torch.isfinite(a).all() and torch.isfinite(b).all()), where
        assert entry["importance"] >= 0


@pytest.mark.filterwarnings("ignore:.*while use_asa is false")
def test_the_callback_leaves_other_models_alone(tmp_path: Path) -> None:
    model = asa_model(use_asa=False)
    trainer(model, tmp_path, max_steps=2, save_strategy="no").train()
    assert len(active_set(model)) == 16


def test_the_summary_after_training() -> None:
    training = start(hand_over=True)
    training.run(until=7)
    summary = training.model.base_model.asa_summary()
    assert json.loads(json.dumps(summary)) == summary
    assert set(summary) == {"adapter", "total", "active", "target", "trainable_parameters", "modules", "schedule"}
    assert (summary["adapter"], summary["total"], summary["target"]) == ("default", 16, 5)
    assert list(summary["modules"]) == list(layers_of(training.model))
    for name, layer in layers_of(training.model).items():
        group, layout = summary["modules"][name], layer.layouts["default"]
        assert [entry["index"] for entry in group] == [0, 1, 2, 3]
        assert sum(entry["rows"] for entry in group) == layer.out_features == 64
        assert [entry["rows"] for entry in group] == [len(layout.members(k)) for k in range(4)]
        assert [entry["rank"] for entry in group] == [min(2, entry["rows"]) for entry in group]
        for entry in group:
            assert set(entry) == {"index", "rows", "rank", "importance", "active", "pruned_at"}
            assert entry["active"] == (entry["pruned_at"] is None)
    entries = [entry for group in summary["modules"].values() for entry in group]
    assert summary["active"] == sum(entry["active"] for entry in entries)
    elements = sum((20 + entry["rows"]) * entry["rank"] for entry in entries if entry["active"])
    assert summary["trainable_parameters"] == elements


def test_the_schedule_in_the_summary_fills_up() -> None:
    """wanted from the formula by hand: 5 + 11 * ((9 - t) / 7) ** 3, rounded down."""
    training = start()
    wanted = [(3, 11), (6, 5), (9, 5)]
    passed: dict[int, list[int | None]] = {
        2: [None, None, None],
        3: [11, None, None],
        8: [11, 5, None],
        9: [11, 5, 5],
        12: [11, 5, 5],
    }
    for done, reached in passed.items():
        training.run(until=done)
        expected = [{"step": s, "wanted": w, "reached": r} for (s, w), r in zip(wanted, reached, strict=True)]
        assert training.model.base_model.asa_summary()["schedule"] == expected


@pytest.mark.filterwarnings("ignore:.*while use_asa is false")
def test_the_summary_without_asa() -> None:
    summary = asa_model(use_asa=False).base_model.asa_summary()
    assert summary["target"] is None
    assert summary["schedule"] == []
    assert summary["active"] == summary["total"] == 16
    assert all(entry["importance"] == 0.0 for group in summary["modules"].values() for entry in group)
