"""A whole training step of a BERT-like encoder, and ASA's share of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from adamss_core import get_adamss_model
from benchmarks.report import Limit, Section
from benchmarks.timing import Step, interleaved, quiet, typical
from benchmarks.variants import Shape, adamss_config, lora_config

TARGETS = ["query", "value"]
MASK_INTERVAL = 5


@dataclass(frozen=True)
class Encoder:
    """Sizes of the encoder and its batch."""

    layers: int = 12
    hidden: int = 768
    batch: int = 8
    length: int = 64
    vocabulary: int = 1000

    def build(self) -> BertForSequenceClassification:
        torch.manual_seed(0)
        config = BertConfig(
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.hidden // 64,
            intermediate_size=4 * self.hidden,
            vocab_size=self.vocabulary,
            max_position_embeddings=self.length,
        )
        return BertForSequenceClassification(config).train()

    def inputs(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, self.vocabulary, (self.batch, self.length), generator=generator)
        return {"input_ids": ids, "labels": torch.randint(0, 2, (self.batch,), generator=generator)}


@dataclass
class Training:
    """One variant's model and optimizer; a step is forward, backward, AdamW, ASA."""

    model: nn.Module
    inputs: dict[str, Tensor]
    # (step, optimizer): AdamSS's ASA, None for the others
    allocate: Callable[[int, torch.optim.Optimizer], None] | None = None
    step: int = 0
    asa_seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-3)

    def run(self) -> None:
        self.model(**self.inputs).loss.backward()
        self.optimizer.step()
        self.step += 1
        if self.allocate is not None:
            start = time.perf_counter()
            self.allocate(self.step, self.optimizer)
            self.asa_seconds.append(time.perf_counter() - start)
        self.optimizer.zero_grad()


def trainings(encoder: Encoder, shape: Shape, steps: int) -> dict[str, Training]:
    """Build all variants. ASA's ramp is longer than the measurement, with a mask step in every interval."""
    asa: dict[str, Any] = {
        "target_modules": TARGETS,
        "task_type": "SEQ_CLS",
        "use_asa": True,
        "asa_target_subspaces": encoder.layers * shape.subspaces,
        "init_warmup": 0,
        "final_warmup": 2 * steps,
        "mask_interval": MASK_INTERVAL,
    }
    inputs = encoder.inputs()
    head = encoder.build().requires_grad_(False)
    head.classifier.requires_grad_(True)
    lora = get_peft_model(encoder.build(), lora_config(shape.total_rank, target_modules=TARGETS, task_type="SEQ_CLS"))
    stock = get_peft_model(encoder.build(), adamss_config(shape, **asa))
    ours = get_adamss_model(encoder.build(), adamss_config(shape, **asa))
    return {
        "head only": Training(head, inputs),
        "LoRA": Training(lora, inputs),
        "PEFT AdaMSS+ASA": Training(stock, inputs, lambda step, _: stock.base_model.update_and_allocate(step)),
        "ours AdaMSS+ASA": Training(
            ours, inputs, lambda step, optimizer: ours.base_model.update_and_allocate(step, optimizer=optimizer)
        ),
    }


def training_step(encoder: Encoder, shape: Shape, rounds: int) -> Section:
    """Time a whole training step, and ASA within it, mask steps included."""
    variants = trainings(encoder, shape, rounds + 2)
    steps = {name: Step(training.run) for name, training in variants.items()}
    times = interleaved(steps, rounds=rounds)
    section = Section(
        f"(e) a whole training step: {encoder.layers} layers, {encoder.hidden} wide, batch "
        f"{encoder.batch} x {encoder.length}, query and value, K={shape.subspaces}, rank {shape.rank}",
        ["variant", "step ms", "step/LoRA", "ASA ms", "ASA at a mask step ms", "ASA share %"],
        notes=[f"ASA's share: its mean over {MASK_INTERVAL - 1} plain steps and one mask step, by the step's time."],
    )
    lora = quiet(times["LoRA"])
    share = 0.0
    for name, training in variants.items():
        ratio = statistics.median(a / b for a, b in zip(quiet(times[name]), lora, strict=True))
        row: list[Any] = [name, typical(times[name]) * 1e3, ratio, "-", "-", "-"]
        if training.asa_seconds:
            masked = training.asa_seconds[MASK_INTERVAL - 1 :: MASK_INTERVAL]
            plain = [s for i, s in enumerate(training.asa_seconds, 1) if i % MASK_INTERVAL]
            mask, usual = statistics.median(masked), statistics.median(plain)
            mean = (mask + (MASK_INTERVAL - 1) * usual) / MASK_INTERVAL
            share = mean / typical(times[name])
            row[3:] = [usual * 1e3, mask * 1e3, share * 100]
        section.rows.append(row)
    section.limits.append(Limit("ASA's share of our step, %", share * 100, 2.0))  # ours is the last variant
    return section
