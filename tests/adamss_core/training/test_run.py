from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import pytest

from adamss_core import get_adamss_model
from adamss_core.training import base_model
from adamss_core.training.run import run
from tests.adamss_core.training.support import FinishedRun, Recorder, job, request, texts

pytestmark = pytest.mark.slow

TRAIN_VALUES = {
    "loss",
    "learning_rate",
    "grad_norm",
    "samples_per_second",
    "tokens_per_second",
    "memory_bytes",
    "active_subspaces",
    "target_subspaces",
    "trainable_parameters",
    "cpu_percent",
    "process_memory_bytes",
}
TIMED = {"samples_per_second", "tokens_per_second", "memory_bytes", "cpu_percent", "process_memory_bytes"}


def test_adapter_may_have_any_name(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_model, "get_adamss_model", partial(get_adamss_model, adapter_name="tuned"))
    recorder = Recorder()
    outcome = run(request(model, tmp_path, texts(60), spec=job(training={"max_steps": 21})), recorder)
    assert outcome.result["pruning"] == {"total": 16, "active": 7, "target": 7}
    assert {summary["adapter"] for summary in recorder.maps.values()} == {"tuned"}
    assert [artifact.name for artifact in outcome.artifacts] == ["adapter"]


def test_the_result_is_clearly_above_the_baseline(finished: FinishedRun) -> None:
    result = finished.outcome.result
    good = finished.request.train_file.read_text().count('"good"')
    assert result["eval_accuracy"] > result["baseline"]["accuracy"] + 0.2
    assert result["eval_macro_f1"] > 0.9
    assert result["baseline"] == {
        "predicts": 'always "good"',
        "loss": pytest.approx(-(12 * math.log((good - 12) / 187) + 9 * math.log((199 - good) / 187)) / 21),
        "accuracy": pytest.approx(12 / 21),
        "macro_f1": pytest.approx(4 / 11),
        "matthews": 0.0,
    }
    assert (result["train_rows"], result["eval_rows"], result["labels"]) == (187, 21, ["bad", "good"])
    assert result["steps"] == result["total_steps"] == 48
    assert result["pruning"] == {"total": 16, "active": 7, "target": 7}
    assert 0 < result["training_seconds"] <= result["seconds"]
    json.dumps(result, allow_nan=False)


def test_each_phase_is_announced(finished: FinishedRun) -> None:
    entered = [data for kind, _, data in finished.recorder.events if kind == "phase"]
    names = [data["phase"] for data in entered]
    before = ["loading", "tokenising", "decomposing", "training", "evaluating"]
    assert names == [*before, *3 * ["publishing", "verifying", "publishing"]]
    assert [data["artifact"] for data in entered if data["phase"] == "verifying"] == ["adapter", "lora", "merged"]


def test_every_logged_step_has_a_whole_row(finished: FinishedRun) -> None:
    rows = finished.recorder.of("train")
    assert list(rows) == [*range(5, 48, 5), 48]
    for values in rows.values():
        assert set(values) == TRAIN_VALUES
        assert all(isinstance(value, int | float) and math.isfinite(value) for value in values.values())
    assert [rows[step]["active_subspaces"] for step in (5, 20, 48)] == [16, 7, 7]
    assert [rows[step]["target_subspaces"] for step in (5, 20, 48)] == [16, 7, 7]
    assert rows[48]["trainable_parameters"] == finished.outcome.result["trainable_parameters"]
    assert (rows[5]["trainable_parameters"] or 0) > (rows[48]["trainable_parameters"] or 0)


def test_the_parameters_of_the_adapter_are_counted_before_pruning(finished: FinishedRun) -> None:
    (size,) = finished.recorder.sizes
    first = finished.recorder.maps[0]
    assert size.subspaces == first["total"]
    assert size.adapter_parameters == first["trainable_parameters"]
    assert size.trainable_parameters == finished.recorder.of("train")[5]["trainable_parameters"]
    (started,) = (data for kind, _, data in finished.recorder.events if kind == "training_started")
    assert started["trainable_parameters"] == size.trainable_parameters
    result = finished.outcome.result
    end = result["trainable_parameters"] - size.head_parameters
    assert result["elements"] == {
        "peak": first["trainable_parameters"],
        "end": end,
        "published": size.adapter_parameters,
    }
    assert 0 < end <= size.left < size.adapter_parameters  # ASA freezes here: what it pruned is published


def test_evaluations_come_at_the_end_of_each_epoch(finished: FinishedRun) -> None:
    rows = finished.recorder.of("eval")
    assert list(rows) == [24, 48]
    names = {"eval_loss", "eval_accuracy", "eval_macro_f1", "eval_matthews"}
    assert all(set(values) == names for values in rows.values())


def test_progress_and_subspaces_are_told(finished: FinishedRun) -> None:
    recorder = finished.recorder
    assert recorder.resumed_at == [0]
    assert [step["step"] for step in recorder.steps] == list(range(1, 49))
    assert recorder.steps[-1] == {
        "step": 48,
        "total": 48,
        "epoch": 2.0,
        "eta": 0.0,
        "asa": {"total": 16, "active": 7, "target": 7},
    }
    assert list(recorder.maps) == [0, 8, 12, 16, 20]
    assert [entry["active"] for entry in recorder.maps.values()] == sorted(
        (entry["active"] for entry in recorder.maps.values()), reverse=True
    )
    assert {"data_loaded", "training_started", "artifact_ready"} <= set(recorder.event_types())


def test_the_learning_rate_warms_up_and_falls(finished: FinishedRun) -> None:
    rows = finished.recorder.of("train")
    # Row n shows the rate of step n: n - 1 steps were made before it; 3 of 48 steps are the warm-up.
    assert rows[5]["learning_rate"] == pytest.approx(0.02 * (48 - 4) / 45)
    assert rows[48]["learning_rate"] == pytest.approx(0.02 / 45)


def test_a_run_is_repeatable_bit_by_bit(finished: FinishedRun, model: Path, tmp_path: Path) -> None:
    again = Recorder()
    # With a cold cache: where the decompositions come from must not matter.
    outcome = run(request(model, tmp_path, cache=tmp_path / "cache"), again)
    for (kind, step, first), (_, _, second) in zip(finished.recorder.rows, again.rows, strict=True):
        assert {k: v for k, v in first.items() if k not in TIMED} == {
            k: v for k, v in second.items() if k not in TIMED
        }, (kind, step)
    digests = [
        run_outcome.manifest["files"]["adapter_model.safetensors"]["sha256"]
        for run_outcome in (*finished.outcome.artifacts, *outcome.artifacts)
        if run_outcome.name == "adapter"
    ]
    assert digests[0] == digests[1]


def test_another_seed_is_another_run(finished: FinishedRun, model: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    run(request(model, tmp_path, spec=job(training={"seed": 1, "max_steps": 24})), recorder)
    assert recorder.of("train")[5]["loss"] != finished.recorder.of("train")[5]["loss"]


def test_the_best_checkpoint_is_published_and_kept(model: Path, tmp_path: Path) -> None:
    """Three classes at a high rate: the best evaluation is not the last. Before ASA's end nothing qualifies."""
    recorder = Recorder()
    spec = job(training={"eval_steps": 4, "metric_for_best": "loss", "learning_rate": 0.3, "head_learning_rate": 0.3})
    outcome = run(request(model, tmp_path, texts(208, labels=(0, 7.5)), spec=spec), recorder)
    evaluations = recorder.of("eval")
    allowed = {step: values["eval_loss"] or math.inf for step, values in evaluations.items() if step >= 20}
    best = min(allowed, key=lambda step: allowed[step])
    assert best != 48, "the test needs a best step that is not the last"
    assert outcome.result["step"] == best
    assert outcome.result["eval_loss"] == allowed[best]
    assert outcome.result["labels"] == ["0", "7.5"]
    assert not any(entry["best"] for entry in recorder.checkpoints if entry["step"] < 20)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == sorted({f"step-{step:08d}" for step in (best, 44, 48)})


def test_early_stopping_waits_for_the_end_of_pruning(model: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    spec = job(training={"eval_steps": 2, "early_stopping_patience": 2, "epochs": 4})
    outcome = run(request(model, tmp_path, spec=spec), recorder)
    result = outcome.result
    assert result["stopped_early"]
    assert 24 <= result["steps"] < result["total_steps"] == 96
    assert recorder.of("train")[result["steps"]]["loss"] is not None
    assert recorder.event_types().count("early_stopping") == 1
    assert recorder.steps[-1]["eta"] == 0.0


def test_accumulation_has_the_gradients_of_the_whole_batch(model: Path, tmp_path: Path) -> None:
    """Without dropout, 2 x 8 rows train as 1 x 16, up to the order of additions."""
    config = json.loads((model / "config.json").read_text())
    plain = tmp_path / "plain"
    plain.mkdir()
    for file in model.iterdir():
        (plain / file.name).write_bytes(file.read_bytes())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (plain / "config.json").write_text(json.dumps(config))
    rows = []
    for name, sizes in (("whole", (16, 1)), ("pieces", (8, 2))):
        recorder = Recorder()
        training = {"batch_size": sizes[0], "gradient_accumulation_steps": sizes[1], "max_steps": 22}
        run(request(plain, tmp_path / name, spec=job(training=training)), recorder)
        rows.append(recorder.of("train"))
    for step in rows[0]:
        assert rows[0][step]["loss"] == pytest.approx(rows[1][step]["loss"], rel=1e-4)
        assert rows[0][step]["grad_norm"] == pytest.approx(rows[1][step]["grad_norm"], rel=1e-2)


def test_a_run_without_asa_in_bf16_with_pairs_and_a_cosine(model: Path, tmp_path: Path) -> None:
    rows = [row | {"second": "word1 word2"} for row in texts(120)] + [{"text": "", "label": "bad", "second": "word3"}]
    spec = job(
        adamss={"use_asa": False},
        training={
            "precision": "bf16",
            "lr_scheduler": "cosine",
            "max_grad_norm": None,
            "weight_decay": 0.01,
            "head_learning_rate": None,
            "max_length": 8,
        },
        dataset={"train": "ds_" + "a" * 12, "text_pair": "second"},
    )
    recorder = Recorder()
    outcome = run(request(model, tmp_path, rows, spec=spec), recorder)
    last = recorder.of("train")[max(recorder.of("train"))]
    assert (last["active_subspaces"], last["target_subspaces"]) == (16, None)
    assert recorder.steps[-1]["asa"] is None
    assert list(recorder.maps) == [0]
    assert {"rows_left_out", "rows_truncated"} <= set(recorder.event_types())
    assert outcome.result["pruning"] == {"total": 16, "active": 16, "target": None}
    # What was trained in bf16 is verified in fp32.
    assert outcome.artifacts[0].manifest["verification"]["largest_difference"] < 1e-4
