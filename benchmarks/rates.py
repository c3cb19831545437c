"""`make bench-rates`: best learning rates of AdaMSS compared with LoRA, on real reviews as classes and as numbers.

Usage: python -m benchmarks.rates [--goals NAME ...] [--methods NAME ...] [--rates RATE ...] [--rows N] [--seeds N ...]
                                  [--json FILE] [--threads N]
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from peft import AdamssConfig, LoraConfig, get_peft_model
from scipy.stats import pearsonr
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from adamss_core import get_adamss_model
from benchmarks.quality.data import FOLDER, encoder_folder
from benchmarks.report import Section, environment, write_json

DATA = FOLDER / "movie_reviews.csv"
TARGETS = ["query", "value"]
RESULTS = Path(__file__).parent / "results" / "rates.json"
ROWS, HELD_OUT = 1_500, 750
BATCH, EPOCHS, WARMUP = 32, 2, 0.06
WINDOW = 10 * BATCH  # rows that are sorted by length together
MAX_LENGTH = 48
HEAD_RATE = 1e-3
LORA_RATES = (1e-3, 3e-3, 1e-2)
ADAMSS_RATES = (3e-3, 1e-2, 2e-2, 3e-2, 6e-2)


@dataclass(frozen=True)
class Example:
    ids: list[int]
    target: float


@dataclass(frozen=True)
class Goal:
    """A training target derived from the raters' mean.

    Attributes:
        outputs: of the head.
        target: from the mean of the raters to what the head learns.
        loss: of outputs (n, outputs) and targets (n,).
        score: of the same, in percent; higher is better.
    """

    name: str
    measure: str
    outputs: int
    target: Callable[[float], float]
    loss: Callable[[Tensor, Tensor], Tensor]
    score: Callable[[Tensor, Tensor], float]


GOALS = {
    goal.name: goal
    for goal in (
        Goal(
            "classification",
            "accuracy %",
            2,
            lambda sentiment: float(sentiment > 0),
            lambda outputs, targets: nn.functional.cross_entropy(outputs, targets.long()),
            lambda outputs, targets: 100 * float((outputs.argmax(-1) == targets).float().mean()),
        ),
        Goal(
            "regression",
            "100 x Pearson",
            1,
            lambda sentiment: sentiment / 4,
            lambda outputs, targets: mse_loss(outputs[:, 0], targets),
            lambda outputs, targets: 100 * float(pearsonr(outputs[:, 0].numpy(), targets.numpy()).statistic),
        ),
    )
}
METHODS: dict[str, tuple[Callable[[nn.Module], nn.Module], Sequence[float]]] = {
    "lora-r8": (
        lambda model: get_peft_model(
            model, LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="SEQ_CLS")
        ),
        LORA_RATES,
    ),
    "adamss": (
        lambda model: get_adamss_model(
            model,
            AdamssConfig(r=100, num_subspaces=10, subspace_rank=1, target_modules=TARGETS, task_type="SEQ_CLS"),
        ),
        ADAMSS_RATES,
    ),
}


def read_examples(path: Path, rows: int) -> list[Example]:
    """Load the first reviews as token ids, with the mean of their raters."""
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder())
    with path.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))[:rows]
    ids = tokenizer([record["text"] for record in records], truncation=True, max_length=MAX_LENGTH)["input_ids"]
    return [Example(one, float(record["sentiment"])) for one, record in zip(ids, records, strict=True)]


def half() -> torch.autocast:
    """Use bf16 if the processor supports it: it halves the time."""
    capable = bool(torch.cpu.get_capabilities().get("avx512_bf16"))
    return torch.autocast("cpu", torch.bfloat16, enabled=capable)


def windows(examples: Sequence[Example]) -> list[int]:
    """Shuffle rows so that neighbours have similar lengths."""
    parts = torch.randperm(len(examples)).split(WINDOW)
    return [row for part in parts for row in sorted(part.tolist(), key=lambda row: len(examples[row].ids))]


def shuffled(items: list[Any]) -> list[Any]:
    return [items[index] for index in torch.randperm(len(items)).tolist()]


def batches(examples: Sequence[Example], goal: Goal, order: Sequence[int]) -> list[tuple[dict[str, Tensor], Tensor]]:
    """Batch examples in the given order, each batch padded to its longest."""
    made = []
    for start in range(0, len(order), BATCH):
        chosen = [examples[row] for row in order[start : start + BATCH]]
        ids = torch.zeros(len(chosen), max(len(example.ids) for example in chosen), dtype=torch.long)  # 0 is padding
        for row, example in zip(ids, chosen, strict=True):
            row[: len(example.ids)] = torch.tensor(example.ids)
        inputs = {"input_ids": ids, "attention_mask": (ids != 0).long()}
        made.append((inputs, torch.tensor([goal.target(example.target) for example in chosen])))
    return made


def train(model: nn.Module, examples: Sequence[Example], goal: Goal, rate: float, seed: int) -> None:
    """Train with AdamW, linear warm-up and decay; the head has its own rate, the same for every method."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    head = [parameter for name, parameter in named if "classifier" in name]
    adapter = [parameter for name, parameter in named if "classifier" not in name]
    optimizer = torch.optim.AdamW(
        [{"params": head, "lr": HEAD_RATE}, {"params": adapter, "lr": rate}], weight_decay=0.0
    )
    steps = EPOCHS * -(-len(examples) // BATCH)
    warmup = max(1, round(WARMUP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    torch.manual_seed(seed)
    model.train()
    for _ in range(EPOCHS):
        for inputs, targets in shuffled(batches(examples, goal, windows(examples))):
            with half():
                logits = model(**inputs).logits
            goal.loss(logits.float(), targets).backward()
            nn.utils.clip_grad_norm_([*head, *adapter], 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()


@torch.inference_mode()
def score(model: nn.Module, examples: Sequence[Example], goal: Goal) -> float:
    model.eval()
    order = sorted(range(len(examples)), key=lambda row: len(examples[row].ids))
    with half():
        pairs = [(model(**inputs).logits.float(), targets) for inputs, targets in batches(examples, goal, order)]
    return goal.score(torch.cat([logits for logits, _ in pairs]), torch.cat([targets for _, targets in pairs]))


def measure(goal: Goal, method: str, rate: float, seeds: Sequence[int], examples: Sequence[Example]) -> list[Any]:
    """Measure one row of the table: the mean over the seeds, on the last third of the examples."""
    adapt, _ = METHODS[method]
    split = round(len(examples) * ROWS / (ROWS + HELD_OUT))
    begin, scores = time.perf_counter(), []
    for seed in seeds:
        torch.manual_seed(seed)
        model = adapt(AutoModelForSequenceClassification.from_pretrained(encoder_folder(), num_labels=goal.outputs))
        train(model, examples[:split], goal, rate, seed)
        scores.append(score(model, examples[split:], goal))
    return [method, rate, mean(scores), max(scores) - min(scores), time.perf_counter() - begin]


def table(
    goal: Goal,
    methods: Sequence[str],
    rates: Sequence[float] | None,
    seeds: Sequence[int],
    examples: Sequence[Example],
) -> Section:
    trained = round(len(examples) * ROWS / (ROWS + HELD_OUT))
    section = Section(
        f"{goal.name}: {goal.measure} on {len(examples) - trained} held-out reviews, {EPOCHS} epochs on {trained}, "
        f"mean of {len(seeds)} seed(s)",
        ["method", "rate", goal.measure, "spread", "seconds"],
    )
    for method in methods:
        for rate in rates or METHODS[method][1]:
            section.rows.append(measure(goal, method, rate, seeds, examples))
            print(goal.name, *section.rows[-1], flush=True)
        best = max((row for row in section.rows if row[0] == method), key=lambda row: row[2])
        section.notes.append(f"best of {method}: {best[2]:.1f} at {best[1]:g}")
    return section


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rates", description=__doc__.partition("\n")[0])
    parser.add_argument("--goals", nargs="+", choices=list(GOALS), default=list(GOALS), metavar="NAME")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="NAME")
    parser.add_argument("--rates", nargs="+", type=float, metavar="RATE", help="instead of each method's own")
    parser.add_argument("--rows", type=int, default=ROWS + HELD_OUT, help="use only so many reviews")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], metavar="N")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; 1 is steadier on a busy machine")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    examples = read_examples(DATA, options.rows)
    sections = [table(GOALS[name], options.methods, options.rates, options.seeds, examples) for name in options.goals]
    for section in sections:
        print(section.render())
    write_json(options.json, sections)


if __name__ == "__main__":
    main()
