"""Estimate the memory of a training process: the peak of its phases, on a CPU as measured with `make bench-memory`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from adamss_core.spec.facts import LinearModule, ModelFacts
from adamss_core.spec.job import JobSpec
from adamss_core.spec.lengths import BatchShape
from adamss_core.spec.tasks import record_of, record_on

FLOAT, HALF = 4, 2  # bytes; what is trained is fp32
QUANTISED = {"4bit": 0.56, "8bit": 1.0}  # bytes of a frozen weight, scales included
BLOCK = re.compile(r".*?\.\d+(?=\.)")  # a layer of the body, from the names of its modules

# Fitted to peaks on a CPU; `benchmarks/memory.py` names the configurations, and measures others.
PROCESS = 435 << 20  # Python, torch, transformers, tokenizer and data, before any weight
BITSANDBYTES = 55 << 20
STEP = 30 << 20  # code and buffers of the first step
FRAGMENTS = {"fp32": 1.45, "bf16": 1.36}  # the allocator's memory for each byte that the backward pass needs
RECOMPUTED = 3.0  # the same, with activations that come and go in every block
PROBE_ROWS, PROBE_TOKENS = 16, 32  # with which artifacts are compared
PROBE_COPIES = 3  # of their outputs: the artifact's, the difference, and its magnitude
RETURNED = 32 << 20  # glibc gives memory of this size back at once, and keeps what is smaller for reuse

DeviceKind = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Device:
    """Kind of device that a job is estimated for.

    Attributes:
        bf16: whether precision "auto" takes bf16 there.
    """

    kind: DeviceKind
    bf16: bool = False


class MemoryPhases(BaseModel):
    """Peak memory of the training process in each phase, on a CPU."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    loading: int
    """The process, with the base model and the adapter."""
    training: int
    """The largest batch, forward and backward."""
    verification: int
    """Artifacts are loaded again, each beside the trained model, and compared with it."""
    calibration: int | None = None
    """The largest batch with the sketches of all adapted modules, before training; null where `adamss.basis` and
    `adamss.row_share` take nothing from the rows."""

    @property
    def peak(self) -> int:
        return max(self.loading, self.training, self.verification, self.calibration or 0)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a job in elements.

    Attributes:
        basis: of the frozen bases of the adapted modules.
        trained: of A, B and the head.
        sketches: that calibration keeps of the adapted modules.
    """

    basis: int
    trained: int
    sketches: int = 0


def device_memory(spec: JobSpec, facts: ModelFacts, sizes: Sizes, batch: BatchShape, parts: int = 1) -> int:
    """Estimate the memory of a GPU: frozen weights and bases, what is trained with gradients and two moments, and the
    activations of a batch.

    Args:
        parts: into which the frozen blocks are divided, each on a device of its own.
    """
    training, record = spec.training, record_on(spec, facts)
    half = training.precision in ("bf16", "fp16") and training.quantization is None
    activations = int(_activations_by_shape(spec, facts, batch.tokens, half=half) * _share_of_stacks(batch))
    if half and not training.gradient_checkpointing and parts == 1:
        activations += HALF * _linear(facts)  # autocast's copies of the frozen weights, which backward reads again
    activations += record.head_activation_bytes(int(batch.tokens * batch.decoded), facts)
    # Calibration comes before gradients and moments; what it gives back, training takes.
    beside = max(4 * sizes.trained, sizes.trained + sizes.sketches)
    return _weights(spec, facts, parts) + FLOAT * (sizes.basis + beside) + activations


def process_memory(
    spec: JobSpec,
    facts: ModelFacts,
    modules: Sequence[LinearModule],
    sizes: Sizes,
    batch: BatchShape,
    bf16: bool,
    parts: int = 1,
) -> MemoryPhases:
    """Estimate the memory of the whole process on a CPU in each of its phases.

    Args:
        modules: that are adapted.
        bf16: whether precision "auto" takes bf16.
        parts: into which the frozen blocks are divided, each in a process of its own.
    """
    training = spec.training
    half = _is_half(spec, bf16)
    full = FLOAT * facts.parameters
    process = PROCESS + (BITSANDBYTES if training.quantization else 0)
    # Files in fp32 are mapped; files of another type are in memory beside what they are converted to.
    converted = 0 if facts.weight_bytes == FLOAT else facts.weight_bytes * facts.parameters
    adapter = FLOAT * (sizes.basis + 4 * sizes.trained)
    loaded = process + _weights(spec, facts, parts) + adapter
    kept = _kept_by_backward(spec, facts, modules, batch, half=half)
    outputs = record_on(spec, facts).output_values(1, facts)
    scores = batch.tokens * outputs * (FLOAT * batch.decoded + 3 * FLOAT * batch.trained)
    probes = FLOAT * PROBE_ROWS * PROBE_TOKENS * outputs
    retained = kept * _retained_share(facts, batch, HALF if half else FLOAT)
    # A quantised job publishes a base in full precision, beside the one that it trained on.
    models = (2 if training.quantization else 1) * full + converted
    return MemoryPhases(
        loading=int(loaded + converted),
        training=int(loaded + STEP + kept + scores),
        verification=int(loaded + STEP + retained + models + (1 + PROBE_COPIES) * probes),
        calibration=_calibration(spec, sizes, loaded, kept + scores),
    )


def _calibration(spec: JobSpec, sizes: Sizes, loaded: float, batch: float) -> int | None:
    """Return the memory of calibration: for inputs no activation of the batch is kept."""
    if not sizes.sketches:
        return None
    return int(loaded + STEP + FLOAT * sizes.sketches + (batch if spec.adamss.needs_gradients else 0))


def _is_half(spec: JobSpec, bf16: bool) -> bool:
    precision = spec.training.precision
    return precision in ("bf16", "fp16") or (precision == "auto" and bf16 and not record_of(spec).trains_in_fp32)


def _kept_by_backward(
    spec: JobSpec, facts: ModelFacts, modules: Sequence[LinearModule], batch: BatchShape, *, half: bool
) -> float:
    """Return the memory that a batch's activations take, those of the adapted layers' inputs included."""
    precision, width = ("bf16", HALF) if half else ("fp32", FLOAT)
    known = (facts.activations or {}).get(precision)
    if known is None:
        shapes = _activations_by_shape(spec, facts, batch.tokens, half=half)
        return FRAGMENTS[precision] * shapes * _share_of_stacks(batch)
    whole, copies = known.of(batch.rows, batch.length, batch.decoded), known.fixed
    # Layers with the same parent, as query and value, have the same input.
    inputs = {module.name.rpartition(".")[0]: module.in_features for module in modules}
    whole += batch.tokens * sum(inputs.values()) * width * _share_of_stacks(batch)
    if not spec.training.gradient_checkpointing:
        return FRAGMENTS[precision] * (whole * _share_of_blocks(facts, modules) + copies)
    blocks = _blocks(facts)
    between = blocks * batch.tokens * (facts.hidden_size or 0) * FLOAT
    return RECOMPUTED * ((whole + copies) / blocks + between)


def _share_of_stacks(batch: BatchShape) -> float:
    """Return the share of a batch's positions that are computed: a decoder may have fewer than its encoder."""
    return (1 + batch.decoded) / 2


def _share_of_blocks(facts: ModelFacts, modules: Sequence[LinearModule]) -> float:
    """Return the share of the blocks that backward reaches: it ends at the lowest adapted one."""
    names = [match.group() for module in facts.linear_modules if (match := BLOCK.match(module.name))]
    blocks = list(dict.fromkeys(names))
    adapted = {match.group() if (match := BLOCK.match(module.name)) else None for module in modules}
    lowest = min((blocks.index(name) if name in blocks else 0 for name in adapted), default=0)
    return 1 - lowest / len(blocks) if blocks else 1.0


def _retained_share(facts: ModelFacts, batch: BatchShape, width: int) -> float:
    """Return the share of the activations' memory that the allocator keeps after training: that of small tensors."""
    widths = [size for module in facts.linear_modules for size in (module.in_features, module.out_features)]
    return sum(size for size in widths if batch.tokens * size * width < RETURNED) / max(1, sum(widths))


def _activations_by_shape(spec: JobSpec, facts: ModelFacts, tokens: int, *, half: bool) -> int:
    """Count the input and output of every linear layer: attention keeps about as much again as layers do not keep."""
    widths = sum(module.in_features + module.out_features for module in facts.linear_modules)
    if spec.training.gradient_checkpointing:
        blocks = _blocks(facts)
        widths = widths // blocks + blocks * (facts.hidden_size or 0)  # one block at a time, and what goes into each
    # Quantised layers answer in the type of their input, which is fp32.
    return tokens * widths * (HALF if half else FLOAT)


def _blocks(facts: ModelFacts) -> int:
    return len({match.group() for module in facts.linear_modules if (match := BLOCK.match(module.name))}) or 1


def _linear(facts: ModelFacts) -> int:
    return sum(module.in_features * module.out_features for module in facts.linear_modules)


def _weights(spec: JobSpec, facts: ModelFacts, parts: int = 1) -> int:
    """Return the bytes of the frozen weights during training.

    Args:
        parts: into which the blocks are divided; then one block is whole while it computes, and the next one arrives.
    """
    saved = int(_linear(facts) * (FLOAT - QUANTISED.get(spec.training.quantization or "", FLOAT)))
    whole = FLOAT * facts.parameters - saved
    if parts == 1:
        return whole
    inside = [module for module in facts.linear_modules if BLOCK.match(module.name)]
    blocks = FLOAT * sum(module.in_features * module.out_features for module in inside)
    return whole - blocks + blocks // parts + 2 * blocks // _blocks(facts)
