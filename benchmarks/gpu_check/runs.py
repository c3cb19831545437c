"""Whole runs of `adamss_core.training.run`: killed and resumed, short of memory, quantised, compiled."""

from __future__ import annotations

import gc
import json
import os
import random
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from adamss_core.inspection import inspect_model
from adamss_core.spec import JobSpec, ModelFacts
from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.request import RunRequest, RunResult
from adamss_core.training.run import run
from benchmarks.gpu_check.estimates import memory_of_job
from benchmarks.gpu_check.process import Channel
from benchmarks.gpu_check.sizes import RunSizes, Sizes

GOOD, BAD, SPECIAL = ("fine", "great", "warm"), ("dull", "awful", "cold"), ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
OTHERS = tuple(f"word{number}" for number in range(8_000))
REFERENCE, KILLED = "reference", "killed"
WHOLE, SHORT, QUANTISED, COMPILED = (
    "whole run, killed and resumed",
    "out of memory",
    "quantised runs",
    "compiled run",
)
SHORT_STEPS = 8


# --- parts --------------------------------------------------------------------------------------------------------


def killed_run(channel: Channel, sizes: Sizes) -> None:
    """Runs until the parent kills this process."""
    prepare(channel.folder, sizes)
    run(request(channel.folder, KILLED, sizes), _Telling(channel))
    channel.fail("killed run", "the run was over before the kill")


def whole_run(channel: Channel, sizes: Sizes) -> None:
    """The uninterrupted run, and the one that was killed, resumed; both must end alike."""
    prepare(channel.folder, sizes)
    reference = _finished(request(channel.folder, REFERENCE, sizes))
    _report_run(channel, WHOLE, "uninterrupted", reference)
    resumed = _finished(request(channel.folder, KILLED, sizes))
    _report_run(channel, WHOLE, "killed and resumed", resumed)
    if not resumed.memory.resumed_at:
        channel.fail("killed run", "it left no checkpoint to resume from")
    tensors = [adapter_tensors(finished) for finished in (reference, resumed)]
    largest, identical = compare(*tensors)
    channel.row(
        "resumed against uninterrupted",
        **{
            "resumed at step": resumed.memory.resumed_at,
            "artifacts bit-identical": identical,
            "largest difference": largest,
            "same evaluation": _scores(reference) == _scores(resumed),
        },
    )


def out_of_memory(channel: Channel, sizes: Sizes) -> None:
    """The same run with and without memory for its batch; without dropout, so that halving changes rounding only."""
    prepare(channel.folder, sizes)
    fields: dict[str, Any] = {"max_steps": SHORT_STEPS, "precision": "fp32", "checkpoint_steps": SHORT_STEPS}
    options: dict[str, Any] = {"model": "model-without-dropout", "training": fields, "artifacts": ["adapter"]}
    roomy = _finished(request(channel.folder, "roomy", sizes, **options))
    _report_run(channel, SHORT, "enough memory", roomy)
    with _short_of_memory(roomy.memory.peak, sizes) as how:
        short = _finished(request(channel.folder, "short", sizes, **options))
    _report_run(channel, SHORT, how, short)
    sizes_tried = [event["micro_batch"] for kind, event in short.memory.events if kind == "micro_batch_halved"]
    largest, _ = compare(adapter_tensors(roomy), adapter_tensors(short))
    channel.row(
        "halved against whole batches",
        **{
            "batch": sizes.run.batch,
            "micro-batches tried": " ".join(map(str, sizes_tried)) or "none",
            "rows a step": short.memory.rows_a_step(short.outcome),
            "largest difference of a weight": largest,
            "first loss": roomy.memory.losses[0],
            "its difference": abs(roomy.memory.losses[0] - short.memory.losses[0]),
        },
    )
    if not sizes_tried:
        channel.fail("out of memory", "memory did not run out: nothing was halved")


def quantised_runs(channel: Channel, sizes: Sizes) -> None:
    prepare(channel.folder, sizes)
    for bits in sizes.run.bits:
        if channel.left < 10:
            channel.leave_out(bits, "no time left")
            continue
        fields = {"quantization": bits, "max_steps": sizes.run.steps // 2}
        finished = _finished(request(channel.folder, bits, sizes, training=fields, artifacts=["adapter"]))
        _report_run(channel, QUANTISED, bits, finished)


def compiled_run(channel: Channel, sizes: Sizes) -> None:
    """Without ASA: each pruning would compile anew."""
    if not sizes.compiled:
        channel.leave_out("all", "at full size only: a C++ compiler takes minutes")
        return
    prepare(channel.folder, sizes)
    fields = {"compile": True, "max_steps": sizes.run.steps // 2}
    asked = request(
        channel.folder, "compiled", sizes, training=fields, artifacts=["adapter"], adamss={"use_asa": False}
    )
    finished = _finished(asked)
    _report_run(channel, COMPILED, "compile: true", finished)
    for kind, event in finished.memory.events:
        if kind == "compile_off":
            channel.fail("compile: true", event["message"])


# --- what is run --------------------------------------------------------------------------------------------------


def prepare(folder: Path, sizes: Sizes) -> None:
    """Base models and rows, unless an earlier part has written them."""
    if (folder / "rows.jsonl").exists():
        return
    for name, dropout in (("model", 0.1), ("model-without-dropout", 0.0)):
        torch.manual_seed(0)
        config = BertConfig(
            hidden_size=sizes.run.hidden,
            num_hidden_layers=sizes.run.layers,
            num_attention_heads=max(2, sizes.run.hidden // 32),
            intermediate_size=4 * sizes.run.hidden,
            vocab_size=len(SPECIAL + GOOD + BAD + OTHERS),
            max_position_embeddings=sizes.run.max_length,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        BertForSequenceClassification(config).bert.save_pretrained(folder / name)
        _tokenizer(sizes.run.max_length).save_pretrained(folder / name)
    lines = (json.dumps(row) + "\n" for row in _rows(sizes.run))
    (folder / "rows.jsonl.new").write_text("".join(lines), encoding="utf-8")
    (folder / "rows.jsonl.new").replace(folder / "rows.jsonl")


def _tokenizer(max_length: int) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(SPECIAL + GOOD + BAD + OTHERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=max_length,
    )


def _rows(sizes: RunSizes) -> Iterator[dict[str, str]]:
    """Texts whose label follows from words among others."""
    source = random.Random(0)
    for _ in range(sizes.rows):
        good = source.random() < 0.5
        words = source.choices(OTHERS, k=source.randint(sizes.words // 2, sizes.words)) + source.choices(
            GOOD if good else BAD, k=max(2, sizes.words // 8)
        )
        source.shuffle(words)
        yield {"text": " ".join(words), "label": "good" if good else "bad"}


def request(
    folder: Path,
    name: str,
    sizes: Sizes,
    *,
    model: str = "model",
    adamss: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    artifacts: list[str] | None = None,
) -> RunRequest:
    """A job with ASA that prunes half of its subspaces in the first half of its steps."""
    chosen = sizes.run
    steps = (training or {}).get("max_steps", chosen.steps)
    spec = {
        "name": name,
        "base_model": "random-bert",
        "dataset": {"train": "ds_" + "0" * 12},
        "adamss": {
            "r": min(100, chosen.hidden // 2),
            "num_subspaces": 8,
            "target_modules": ["query", "value"],
            "use_asa": True,
            "asa_target_subspaces": 8 * chosen.layers,
            "init_warmup": 1,
            "final_warmup": steps // 2,
            "mask_interval": max(1, steps // 20),
            **(adamss or {}),
        },
        "training": {
            "max_steps": steps,
            "batch_size": chosen.batch,
            "max_length": chosen.max_length,
            "checkpoint_steps": chosen.checkpoint_steps,
            "logging_steps": 1,
            **(training or {}),
        },
        "artifacts": artifacts or ["adapter", "lora", "merged"],
    }
    return RunRequest(
        job_id="job_gpucheck",
        spec=JobSpec.model_validate(spec),
        train_file=folder / "rows.jsonl",
        eval_file=None,
        model=str(folder / model),
        revision=None,
        folder=folder / name,
        cache=folder / "decompositions",
    )


# --- what is remembered -------------------------------------------------------------------------------------------


class _Telling(NullReporter):
    """Passes each step on to the parent."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def progress(self, *, step: int, **_: Any) -> None:
        self._channel.step(step)


class _Memory(NullReporter):
    """Remembers losses, events and the peak of the device's memory."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.resumed_at = 0
        self.peak = 0

    def metrics(self, *, kind: str, values: dict[str, Any], **_: Any) -> None:
        if kind == "train":
            self.losses.append(float(values["loss"]))
            self.peak = max(self.peak, int(values["memory_bytes"]))

    def event(self, type: str, message: str, data: dict[str, Any]) -> None:
        self.events.append((type, data | {"message": message}))

    def resumed(self, step: int) -> None:
        self.resumed_at = step

    def rows_a_step(self, outcome: RunResult) -> float:
        """Rows that went into an optimizer step, from what the result says of steps and epochs."""
        return outcome.result["epochs"] * outcome.result["train_rows"] / outcome.result["steps"]


@dataclass(frozen=True)
class _Finished:
    request: RunRequest
    outcome: RunResult
    memory: _Memory = field(default_factory=_Memory)


def _finished(asked: RunRequest) -> _Finished:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    memory = _Memory()
    return _Finished(asked, run(asked, memory), memory)


def _report_run(channel: Channel, section: str, name: str, finished: _Finished) -> None:
    result, memory, spec = finished.outcome.result, finished.memory, finished.request.spec
    started = next(event for kind, event in memory.events if kind == "training_started")
    facts = ModelFacts.model_validate(inspect_model(finished.request.model))
    estimated = memory_of_job(spec, facts)
    on_device = started["device"].startswith("cuda")
    channel.row(
        section,
        run=name,
        device=started["device"],
        precision=started["precision"],
        **{
            "steps": result["steps"],
            "first loss": memory.losses[0],
            "last loss": memory.losses[-1],
            "accuracy": result.get("eval_accuracy"),
            "subspaces left": f"{result['pruning']['active']}/{result['pruning']['total']}",
            "seconds": result["seconds"],
            "step ms": result["training_seconds"] / result["steps"] * 1e3,
            "peak MB": memory.peak / 1e6 if on_device else None,
            "estimate MB": estimated / 1e6,
            "estimate/peak": estimated / memory.peak if on_device else None,
        },
    )


def _scores(finished: _Finished) -> dict[str, Any]:
    return {name: value for name, value in finished.outcome.result.items() if name.startswith("eval_")}


@contextmanager
def _short_of_memory(peak: int, sizes: Sizes) -> Iterator[str]:
    """On a GPU the allocator gets about half of what the whole batch took; on a CPU the lack is injected.

    Args:
        peak: bytes that the run took with enough memory.
    """
    if not torch.cuda.is_available():
        os.environ["FAILPOINT"] = "gradients:oom"
        yield "injected lack (no GPU)"
        del os.environ["FAILPOINT"]
        return
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.5 * peak / total)
    yield f"{0.5 * peak / 1e6:.0f} MB for all"
    torch.cuda.set_per_process_memory_fraction(1.0)


def adapter_tensors(finished: _Finished) -> dict[str, Tensor]:
    """Tensors of the published adapter."""
    path = next(artifact.path for artifact in finished.outcome.artifacts if artifact.name == "adapter")
    with zipfile.ZipFile(path) as archive:
        return safetensors.torch.load(archive.read("adapter_model.safetensors"))


def compare(first: dict[str, Tensor], second: dict[str, Tensor]) -> tuple[float, bool]:
    """The largest difference of any element, and whether there is none; infinite where names or shapes differ."""
    if {n: t.shape for n, t in first.items()} != {n: t.shape for n, t in second.items()}:
        return float("inf"), False
    gaps = [float((t.double() - second[n].double()).abs().max()) for n, t in first.items() if t.numel()]
    return max(gaps), all(torch.equal(t, second[n]) for n, t in first.items())
