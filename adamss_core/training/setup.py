"""The inputs of one adapter's training, and the accelerator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor
from transformers import PreTrainedModel

from adamss_core.spec import JobSpec, Plan, TrainingSpec, record_of
from adamss_core.training.base_model import Source
from adamss_core.training.batches import Collate, Encoded
from adamss_core.training.data import Data
from adamss_core.training.errors import TrainingError
from adamss_core.training.ranks import Ranks
from adamss_core.training.request import Reporter, RunRequest
from adamss_core.training.tasks import Task
from adamss_core.training.tasks.text_generation_packing import PackedExamples


@dataclass(frozen=True)
class Setup:
    """One adapter's inputs, ready for training.

    `accelerator`, `source` and `processor` are the base model's; adapters that are trained on one base share them.

    Attributes:
        name: of the adapter in the model.
        processor: tokenizer or image processor.
        training_losses: outputs and targets in, the sum of each row's loss terms out, (rows,), as they are trained on.
        limit: tokens per example; 0 where examples have no length.
        identity: values that must match before a checkpoint is resumed.
        fresh_base: loads the base once more, with the values that its head starts from; returns it and the modules that
            start at random.
        ranks: the processes of the run.
        contender: the name of a contender; None for the job's own adapter.
        stops_at: step after which a contender stops, as the job's own training did; None makes all steps of the plan.
    """

    name: str
    request: RunRequest
    reporter: Reporter
    accelerator: Accelerator
    task: Task
    source: Source
    processor: Any
    data: Data
    train: Encoded
    evaluation: Encoded
    test: Encoded | None
    collate: Collate
    training_collate: Collate
    training_losses: Callable[[Any, Tensor], Tensor]
    limit: int
    plan: Plan
    identity: dict[str, str | int]
    fresh_base: Callable[[Reporter], tuple[PreTrainedModel, list[str]]]
    ranks: Ranks = field(default_factory=Ranks)
    contender: str | None = None
    stops_at: int | None = None

    @property
    def last_step(self) -> int:
        """Step after which the training ends, if nothing stops it earlier."""
        return self.plan.total_steps if self.stops_at is None else self.stops_at

    @property
    def training(self) -> TrainingSpec:
        return self.plan.spec.training

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimizer step, over all processes."""
        training = self.training
        return training.batch_size * training.gradient_accumulation_steps

    @property
    def divides_base(self) -> bool:
        """Tell whether the frozen base is divided among the processes."""
        return self.ranks.size > 1 and self.plan.spec.resources.shard is True

    @property
    def packs(self) -> bool:
        """Tell whether several examples share a row of a training batch."""
        return isinstance(self.training_collate, PackedExamples)


def make_accelerator(spec: JobSpec) -> Accelerator:
    """Make the accelerator for this machine's device.

    Raises:
        TrainingError: unsupported_precision.
    """
    # `cpu` is passed explicitly, as accelerate joins CPU processes only then. Apple's GPUs lack operations we need.
    available = torch.accelerator.current_accelerator(check_available=True)
    cpu = available is None or available.type == "mps"
    device = PartialState(cpu=cpu).device
    precision = _precision(spec, device)
    state = AcceleratorState._shared_state
    if state and state.get("_mixed_precision") != precision:
        AcceleratorState._reset_state()  # left by an earlier run in this process: all Accelerators share one state
    return Accelerator(mixed_precision=precision, cpu=cpu)


def _precision(spec: JobSpec, device: torch.device) -> str:
    """Return accelerate's name of the precision: no, bf16 or fp16."""
    training = spec.training
    if training.precision == "auto":
        return "bf16" if has_bf16(device) and not record_of(spec).trains_in_fp32 else "no"
    if training.precision == "fp16" and device.type == "cpu":
        raise TrainingError(
            "unsupported_precision",
            "This machine trains on its CPU, which has no fp16 training.",
            hint='Use training.precision "auto", "fp32" or "bf16".',
            where="training.precision",
        )
    return {"fp32": "no"}.get(training.precision, training.precision)


def has_bf16(device: torch.device) -> bool:
    """Return whether the device has native bf16; emulated, it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("avx512_bf16") or torch.cpu.get_capabilities().get("amx_bf16"))
    return False
