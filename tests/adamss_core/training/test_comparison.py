"""Contenders that a run trains beside its own adapter."""

from __future__ import annotations

import gc
import json
import math
import zipfile
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from accelerate.utils import set_seed
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

from adamss_core.model import AdamssModel
from adamss_core.training.batches import epoch_steps
from adamss_core.training.comparison_store import MOST_STARTS, ContenderStore
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.evaluator import Evaluator
from adamss_core.training.preparation import prepare
from adamss_core.training.request import RunRequest
from adamss_core.training.run import run
from adamss_core.training.setup import make_accelerator
from tests.adamss_core.training.chats import build_llama, chats, generation_job
from tests.adamss_core.training.support import FinishedRun, Recorder, job, request, write_rows
from tests.marks import compat

pytestmark = pytest.mark.slow

STEPS = 24
TRAINING = {"max_steps": STEPS, "batch_size": 8, "eval_steps": STEPS, "learning_rate": 0.02}
BOTH = ["head", "lora:r=1"]


def comparing(model: Path, folder: Path, *contenders: str, **fields: Any) -> RunRequest:
    training = TRAINING | fields.pop("training", {})
    return request(model, folder, spec=job(training=training, compare=list(contenders), **fields))


def rows_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the table's rows by contender, without what depends on the clock."""
    entries = result["comparison"]["contenders"]
    return {one["contender"]: {name: value for name, value in one.items() if name != "seconds"} for one in entries}


@pytest.fixture(scope="module")
def compared(model: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    asked = comparing(model, tmp_path_factory.mktemp("compared"), *BOTH)
    recorder = Recorder()
    return FinishedRun(asked, recorder, run(asked, recorder))


def reference_loss(asked: RunRequest, contender: str) -> float:
    """Train with transformers and stock PEFT alone, on the rows in the order of the run; return the held-out loss."""
    examples = _encoded(asked)
    set_seed(0)
    base = AutoModelForSequenceClassification.from_pretrained(asked.model, num_labels=2, use_safetensors=True)
    model: nn.Module
    if contender == "head":
        model = base
        for name, parameter in base.named_parameters():
            parameter.requires_grad_(name.startswith("classifier"))
    else:
        config = LoraConfig(r=1, lora_alpha=1, target_modules=["query", "value"], task_type="SEQ_CLS")
        model = get_peft_model(base, config)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for name, one in trained if "lora" in name], "lr": 0.4 * 0.02},
        {"params": [one for name, one in trained if "lora" not in name], "lr": 0.02},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(0.06 * STEPS), STEPS)
    set_seed(0)
    model.train()
    rows = [step for epoch in range(2) for step in epoch_steps(examples["train"].lengths, 8, 0, epoch)][:STEPS]
    for step in rows:
        inputs, targets = examples["collate"](examples["train"], step)
        nn.functional.cross_entropy(model(**inputs).logits, targets).backward()
        nn.utils.clip_grad_norm_([one for _, one in trained], 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    held_out = examples["evaluation"]
    inputs, targets = examples["collate"](held_out, list(range(len(held_out))))
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(**inputs).logits, targets))


def _encoded(asked: RunRequest) -> dict[str, Any]:
    setup, _ = prepare(asked, Recorder(), make_accelerator(asked.spec), None)
    return {"train": setup.train, "evaluation": setup.evaluation, "collate": setup.collate}


@pytest.mark.parametrize("contender", BOTH)
def test_a_contender_is_what_stock_libraries_train(compared: FinishedRun, contender: str) -> None:
    """The same batches, seed, clipping and schedule, at 0.4 of the job's rate; of the head, at the head's own."""
    entry = rows_of(compared.outcome.result)[contender]
    loss = entry["held_out"]["metrics"]["loss"]
    assert loss == pytest.approx(reference_loss(compared.request, contender), abs=1e-5)
    assert loss != pytest.approx(rows_of(compared.outcome.result)["adamss"]["held_out"]["metrics"]["loss"], abs=1e-3)


def test_the_table_counts_elements_and_pairs_rows(compared: FinishedRun) -> None:
    result = compared.outcome.result
    own, head, lora = rows_of(result).values()
    assert (head["adapter_parameters"], head["head_parameters"]) == (0, 66)
    assert (lora["adapter_parameters"], lora["head_parameters"]) == (4 * (32 + 32), 66)
    assert (lora["learning_rate"], lora["head_learning_rate"], head["learning_rate"]) == (0.008, 0.02, None)
    assert [one["steps"] for one in (own, head, lora)] == [STEPS] * 3
    assert own["held_out"]["metrics"] == compared.outcome.evaluation[0]["metrics"]
    assert (own["held_out"]["low"], own["held_out"]["difference"]) == (result["judgement"]["low"], None)
    value, ours = (one["held_out"]["metrics"]["accuracy"] for one in (head, own))
    assert head["held_out"]["difference"] == pytest.approx(value - ours)
    assert head["held_out"]["difference_low"] <= value - ours <= head["held_out"]["difference_high"]
    assert result["comparison"]["gain_over"] == "head"
    assert own["gain_per_thousand"] == pytest.approx((ours - value) / (own["adapter_parameters"] / 1_000))
    assert head["gain_per_thousand"] is None


@pytest.mark.compat
def test_elements_are_those_of_the_file(model: Path, tmp_path: Path) -> None:
    """Removed subspaces are not in the published delta, frozen ones are."""
    counts = {}
    for kind in ("frozen", "removed"):
        asked = comparing(model, tmp_path / kind, "head", adamss={"asa_pruned": kind})
        outcome = run(asked, Recorder())
        with zipfile.ZipFile(outcome.artifacts[0].path) as archive:
            tensors = safetensors.torch.load(archive.read("adapter_model.safetensors"))
        filed = sum(one.numel() for name, one in tensors.items() if ".adamss_A" in name or ".adamss_B" in name)
        counts[kind] = rows_of(outcome.result)["adamss"]["adapter_parameters"]
        assert counts[kind] == filed
    assert counts["removed"] < counts["frozen"]


def test_artifacts_are_complete_before_a_contender_is_trained(compared: FinishedRun) -> None:
    types = compared.recorder.event_types()
    assert types.index("artifact_ready") < types.index("comparison_started")
    ready = next(message for type, message, _ in compared.recorder.events if type == "artifact_ready")
    assert " kB)" in ready
    assert ready.endswith("which changes its SHA-256.")
    assert [one for one in types if one.startswith(("comparison", "contender"))] == [
        "comparison_started",
        "contender_finished",
        "contender_finished",
        "comparison_finished",
    ]
    first, *_, last = compared.recorder.results
    assert (first["eval_accuracy"], list(rows_of(first))) == (compared.outcome.result["eval_accuracy"], ["adamss"])
    assert last["comparison"]["running"] == {
        "contender": "lora:r=1",
        "place": 2,
        "step": STEPS,
        "steps": STEPS,
        "eta_seconds": 0.0,
    }
    assert set(compared.recorder.of("eval")) == {STEPS}  # of the job's own training alone


def test_card_and_manifest_have_the_table(compared: FinishedRun) -> None:
    assert compared.recorder.artifacts == ["adapter", "adapter"]
    artifact = compared.outcome.artifacts[0]
    assert sha256(artifact.path.read_bytes()).hexdigest() == artifact.sha256
    with zipfile.ZipFile(artifact.path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        card = archive.read("README.md").decode()
        for name, facts in manifest["files"].items():
            assert sha256(archive.read(name)).hexdigest() == facts["sha256"], name
    assert manifest == artifact.manifest
    assert manifest["result"]["comparison"] == compared.outcome.result["comparison"]
    assert "| `lora:r=1` | 256 | 0.008 |" in card
    assert not list(artifact.path.parent.glob(".*"))


def test_one_model_is_in_memory_at_a_time(model: Path, tmp_path: Path) -> None:
    tuners: list[int] = []

    class Counting(Recorder):
        def result(self, result: dict[str, Any]) -> None:
            tuners.append(sum(type(one) is AdamssModel for one in gc.get_objects()))

    gc.collect()
    before = sum(type(one) is AdamssModel for one in gc.get_objects())
    run(comparing(model, tmp_path, "head"), Counting())
    assert set(tuners) == {before}


class StopsAt(Recorder):
    """Asks to stop while a contender is trained."""

    def __init__(self, contender: str, step: int) -> None:
        super().__init__()
        self.contender, self.step = contender, step

    def stop_requested(self) -> bool:
        running = self.results[-1]["comparison"]["running"] if self.results else None
        return running is not None and (running["contender"], running["step"]) == (self.contender, self.step)


@pytest.mark.parametrize(("contender", "step"), [compat("head", 0), compat("head", 5), ("lora:r=1", 7)])
def test_a_resumed_comparison_is_the_same(
    compared: FinishedRun, model: Path, tmp_path: Path, contender: str, step: int
) -> None:
    asked = comparing(model, tmp_path, *BOTH)
    first = StopsAt(contender, step)
    with pytest.raises(Stopped):
        run(asked, first)
    assert first.artifacts == ["adapter"]
    second = Recorder()
    outcome = run(asked, second)
    assert rows_of(outcome.result) == rows_of(compared.outcome.result)
    trained = {(one["contender"], one["step"]) for made in second.results if (one := made["comparison"]["running"])}
    assert {at for name, at in trained if name == contender} == {0, *range(step + 1, STEPS + 1)}
    if contender == "lora:r=1":
        assert {at for name, at in trained if name == "head"} == {0}  # not trained again


@pytest.mark.parametrize(("action", "code"), [("raise", "contender_failed"), compat("oom", "out_of_memory")])
def test_a_contender_that_fails_costs_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str, code: str
) -> None:
    monkeypatch.setenv("FAILPOINT", f"contender:{action}:1")
    monkeypatch.setattr("adamss_core.failpoints._reached", Counter())
    recorder = Recorder()
    outcome = run(comparing(model, tmp_path, "head", "lora:r=2"), recorder)
    rows = rows_of(outcome.result)
    assert (rows["head"]["status"], rows["head"]["error"]["code"], rows["head"]["held_out"]) == ("failed", code, None)
    assert rows["lora:r=2"]["status"] == "trained"
    assert outcome.result["comparison"]["gain_over"] == 'always "good"'
    assert "contender_failed" in recorder.event_types()
    with zipfile.ZipFile(outcome.artifacts[0].path) as archive:
        assert "| `head` | | | failed |" in archive.read("README.md").decode()


def test_a_contender_that_kills_its_process_is_left_out(tmp_path: Path) -> None:
    store = ContenderStore(tmp_path / "head", {"seed": 0})
    assert [store.start() for _ in range(MOST_STARTS + 1)] == [*[True] * MOST_STARTS, False]
    store.stop()
    assert store.start()
    store.finish({"contender": "head"})
    assert store.finished() == {"contender": "head"}
    assert ContenderStore(tmp_path / "head", {"seed": 1}).finished() is None  # of another run


def test_contenders_make_as_many_steps_as_a_run_that_stopped_early(model: Path, tmp_path: Path) -> None:
    training = {"max_steps": 60, "eval_steps": 5, "early_stopping_patience": 1}
    asked = comparing(model, tmp_path, "lora:r=1", training=training, adamss={"use_asa": False})
    result = run(asked, Recorder()).result
    assert result["stopped_early"]
    assert rows_of(result)["lora:r=1"]["steps"] == result["steps"] < 60


@pytest.mark.compat
def test_a_failed_evaluation_leaves_the_rows_without_differences(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Evaluator, part: object) -> None:
        raise ValueError("no predictions")

    monkeypatch.setattr(Evaluator, "evaluate", fail)
    result = run(comparing(model, tmp_path, "head"), Recorder()).result
    assert [one["held_out"] for one in rows_of(result).values()] == [None, None]
    assert result["comparison"]["gain_over"] is None


@pytest.mark.compat
def test_a_language_model_is_compared_beside_its_base(tmp_path: Path) -> None:
    """The job's baseline is what the base model does; a contender's rows are scored beside the same predictions."""
    spec = generation_job(compare=["lora:r=1"], training={"epochs": 1, "learning_rate": 0.01})
    asked = request(build_llama(tmp_path / "model"), tmp_path / "run", chats(80), spec=spec)
    test = write_rows(tmp_path / "test.jsonl", chats(12, seed=5))
    result = run(replace(asked, test_file=test), Recorder()).result
    own, lora = rows_of(result).values()
    assert result["comparison"]["gain_over"] == "what the base model does"
    for part, prefix in (("held_out", "eval"), ("test", "test")):
        assert own[part]["metrics"]["perplexity"] == pytest.approx(result[f"{prefix}_perplexity"])
        assert lora[part]["difference_low"] < lora[part]["difference"] < lora[part]["difference_high"]
    assert lora["gain_per_thousand"] > 0  # lower is better, and it has learnt


def test_a_task_without_a_head_refuses_to_compare_with_it_before_it_trains(model: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(TrainingError, match="trains no head") as caught:
        run(request(model, tmp_path, chats(8), spec=generation_job(compare=["head"])), recorder)
    assert caught.value.where == "compare"
    assert recorder.resumed_at == []
