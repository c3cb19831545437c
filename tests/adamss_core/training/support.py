"""A tiny model folder, learnable texts, requests, and a reporter that remembers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from adamss_core.spec import JobSpec, Plan
from adamss_core.training.request import AdapterSize, ArtifactFile, MetricKind, RunRequest, RunResult, Values

GOOD = ("fine", "great", "lovely", "warm", "bright")
BAD = ("dull", "awful", "cold", "grim", "flat")
NEUTRAL = tuple(f"word{i}" for i in range(30))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_model(
    folder: Path,
    *,
    layers: int = 2,
    hidden: int = 32,
    intermediate: int = 48,
    tokenizer: bool = True,
    seed: int = 0,
    dropout: float = 0.1,
) -> Path:
    """A BERT, as safetensors, in `folder`."""
    torch.manual_seed(seed)
    config = BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=intermediate,
        vocab_size=len(SPECIAL) + len(GOOD + BAD + NEUTRAL),
        max_position_embeddings=40,
        initializer_range=0.1,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    body = BertForSequenceClassification(config).bert
    # "Pretrained": good and bad words lie on two sides of one direction, which a fine-tune has to find.
    words = body.embeddings.word_embeddings.weight.data
    direction = torch.randn(hidden) * 0.5
    first = len(SPECIAL)
    words[first : first + len(GOOD)] += direction
    words[first + len(GOOD) : first + len(GOOD + BAD)] -= direction
    body.save_pretrained(folder)
    if tokenizer:
        build_tokenizer().save_pretrained(folder)
    return folder


def build_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *GOOD, *BAD, *NEUTRAL))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=40,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def texts(rows: int, *, seed: int = 0, labels: tuple[Any, Any] = ("bad", "good")) -> list[dict[str, Any]]:
    """Rows whose label follows from one word among others; 60 % have the second label."""
    source = random.Random(seed)
    made = []
    for _ in range(rows):
        positive = source.random() < 0.6
        words = [*source.choices(NEUTRAL, k=source.randint(2, 9)), *source.choices(GOOD if positive else BAD, k=2)]
        source.shuffle(words)
        made.append({"text": " ".join(words), "label": labels[positive]})
    return made


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def job(*, adamss: dict[str, Any] | None = None, training: dict[str, Any] | None = None, **fields: Any) -> JobSpec:
    """24 steps an epoch for 208 rows of `texts`, with an ASA ramp from step 6 to 20 unless `use_asa` is false."""
    ramp = {"asa_target_subspaces": 7, "init_warmup": 6, "final_warmup": 20, "mask_interval": 4}
    return JobSpec.model_validate(
        {
            "name": "tiny",
            "base_model": "tiny-bert",
            "dataset": {"train": "ds_" + "a" * 12, "eval_fraction": 0.1},
            "adamss": {
                "r": 12,
                "num_subspaces": 4,
                "target_modules": ["query", "value"],
                "use_asa": True,
                **(ramp if (adamss or {}).get("use_asa", True) else {}),
                **(adamss or {}),
            },
            "training": {
                "epochs": 2,
                "batch_size": 8,
                "learning_rate": 0.02,
                "head_learning_rate": 0.02,
                "logging_steps": 5,
                "precision": "fp32",
                **(training or {}),
            },
            "artifacts": ["adapter"],
            **fields,
        }
    )


def request(
    model: Path, folder: Path, rows: list[dict[str, Any]] | None = None, *, spec: JobSpec | None = None, **fields: Any
) -> RunRequest:
    folder.mkdir(parents=True, exist_ok=True)
    train = write_rows(folder / "train.jsonl", texts(208) if rows is None else rows)
    return RunRequest(
        **{
            "job_id": "job_test",
            "spec": spec or job(),
            "train_file": train,
            "eval_file": None,
            "model": str(model),
            "revision": None,
            "folder": folder,
            "cache": model.parent / "cache",
            **fields,
        }
    )


@dataclass(frozen=True)
class FinishedRun:
    request: RunRequest
    recorder: Recorder
    outcome: RunResult


class Recorder:
    """Remembers everything; asks to stop after a given step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.rows: list[tuple[MetricKind, int, Values]] = []
        self.steps: list[dict[str, Any]] = []
        self.maps: dict[int, dict[str, Any]] = {}
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.checkpoints: list[dict[str, Any]] = []
        self.resumed_at: list[int] = []
        self.plans: list[Plan] = []
        self.sizes: list[AdapterSize] = []
        self.artifacts: list[str] = []
        self.results: list[dict[str, Any]] = []
        self.decompositions: list[Path] = []
        self.on_step: Callable[[int], None] = lambda _: None

    def metrics(self, *, kind: MetricKind, step: int, epoch: float, values: Values) -> None:
        assert epoch > 0 or (kind, step) == ("eval", 0)
        self.rows.append((kind, step, values))

    def progress(
        self, *, step: int, total_steps: int, epoch: float, eta_seconds: float | None, asa: dict[str, int] | None
    ) -> None:
        self.steps.append({"step": step, "total": total_steps, "epoch": epoch, "eta": eta_seconds, "asa": asa})
        self.on_step(step)

    def subspaces(self, *, step: int, summary: dict[str, Any]) -> None:
        self.maps[step] = json.loads(json.dumps(summary))

    def event(self, type: str, message: str, data: dict[str, Any]) -> None:
        self.events.append((type, message, json.loads(json.dumps(data))))

    def checkpoint(self, *, step: int, path: str, best: bool, values: dict[str, Any]) -> None:
        self.checkpoints.append({"step": step, "path": path, "best": best, "values": values})

    def resumed(self, step: int) -> None:
        told = [self.rows, self.steps, self.maps, self.events, self.checkpoints]
        assert not any(told), "resumed comes first"
        self.resumed_at.append(step)

    def planned(self, plan: Plan, size: AdapterSize) -> None:
        assert size.subspaces > 0
        self.plans.append(plan)
        self.sizes.append(size)

    def artifact(self, artifact: ArtifactFile) -> None:
        assert artifact.path.stat().st_size == artifact.size_bytes
        self.artifacts.append(artifact.name)

    def result(self, result: dict[str, Any]) -> None:
        self.results.append(json.loads(json.dumps(result)))

    def decomposition(self, path: Path) -> None:
        self.decompositions.append(path)

    def stop_requested(self) -> bool:
        return self.stop_at is not None and bool(self.steps) and self.steps[-1]["step"] >= self.stop_at

    def of(self, kind: str) -> dict[int, Values]:
        return {step: values for name, step, values in self.rows if name == kind}

    def event_types(self) -> list[str]:
        return [name for name, _, _ in self.events]
