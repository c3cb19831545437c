"""Estimate the cost of a job from shapes alone: parameters, memory, files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.facts import LinearModule, ModelFacts
from adamss_core.spec.job import JobSpec
from adamss_core.spec.plan import Plan
from adamss_core.spec.tasks import record_of

FLOAT = 4  # bytes; what is trained is fp32
HALF = 2  # bf16 and fp16
FILE_OVERHEAD = 20_000  # config, manifest, card and zip directory
QUANTISED = {"4bit": 0.56, "8bit": 1.0}  # bytes of a frozen weight, scales included
BLOCK = re.compile(r".*?\.\d+(?=\.)")  # a layer of the body, from the names of its modules
MAX_SCHEDULE = 500  # mask steps that are listed


class ScheduleStep(BaseModel):
    """A step at which subspaces are pruned."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    step: int
    """Optimizer step."""
    wanted: int
    """Subspaces that stay after it."""


class ArtifactBytes(BaseModel):
    """Sizes of the files that the job leaves."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    adapter: int | None = None
    """The adapter in PEFT's format; null where the job does not ask for it."""
    lora: int | None = None
    """The equivalent LoRA."""
    merged: int | None = None
    """The merged model."""


class Estimate(BaseModel):
    """What a job will do and need."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    trainable_parameters: int
    """Elements of A, B and the head that are trained before pruning. Exact where every subspace has `subspace_rank`
    rows, as with rank 1; else, and with `use_dynamic_rank`, an upper bound."""
    adapter_parameters: int
    """Of these, A and B."""
    head_parameters: int
    """Of these, the head and other modules that are trained in full."""
    subspaces: int
    """Subspaces over all adapted modules."""
    modules: int
    """Adapted modules."""
    steps: int
    """Optimizer steps."""
    steps_per_epoch: int
    """Optimizer steps of one pass over the training rows."""
    train_rows: int
    """Rows that are trained on."""
    eval_rows: int
    """Rows that are held out."""
    memory_bytes: int
    """Memory of the device, roughly: weights, gradients, optimizer, activations of one batch."""
    artifact_bytes: ArtifactBytes
    """Sizes of the files, roughly; a LoRA shrinks with the subspaces that are pruned."""


class Shape(BaseModel):
    """Packed sizes of one adapted module: A is (ranks, basis), B has out x rank elements."""

    model_config = ConfigDict(frozen=True)

    subspaces: int
    ranks: int
    basis: int
    a: int
    b: int
    columns: int
    rows: int


def shape_of(module: LinearModule, spec: AdamssSpec) -> Shape:
    """Clamp K to the rows, r to the smaller dimension of [W | b], and each rank to r and to its subspace's rows."""
    columns = module.in_features + module.bias
    basis = min(spec.r, module.out_features, columns)
    subspaces = min(spec.num_subspaces, module.out_features)
    rank = min(spec.subspace_rank, basis)
    ranks = min(subspaces * rank, module.out_features)
    b = module.out_features * rank
    return Shape(
        subspaces=subspaces, ranks=ranks, basis=basis, a=ranks * basis, b=b, columns=columns, rows=module.out_features
    )


def total_subspaces(modules: Sequence[LinearModule], spec: AdamssSpec) -> int:
    return sum(shape_of(module, spec).subspaces for module in modules)


def estimate(
    plan: Plan, facts: ModelFacts, modules: Sequence[LinearModule], labels: int, train_rows: int, eval_rows: int
) -> Estimate:
    """Return the numbers of a planned job.

    Args:
        modules: as `match_targets` returns them.
        labels: outputs of the head.
    """
    spec = plan.spec
    shapes = [shape_of(module, spec.adamss) for module in modules]
    adapter = sum(shape.a + shape.b for shape in shapes)
    head = facts.head_parameters_fixed + facts.head_parameters_per_label * labels
    return Estimate(
        trainable_parameters=adapter + head,
        adapter_parameters=adapter,
        head_parameters=head,
        subspaces=sum(shape.subspaces for shape in shapes),
        modules=len(shapes),
        steps=plan.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
        train_rows=train_rows,
        eval_rows=eval_rows,
        memory_bytes=_memory(spec, facts, shapes, adapter + head),
        artifact_bytes=_artifacts(spec, facts, shapes, adapter, head),
    )


def schedule(spec: AdamssSpec, subspaces: int) -> list[ScheduleStep]:
    """Return the mask steps of a resolved spec with the subspaces that stay after each; empty without ASA.

    Of a schedule with very many mask steps, evenly chosen ones and the last.
    """
    init, final, interval = spec.init_warmup, spec.final_warmup, spec.mask_interval
    if not (spec.use_asa and isinstance(init, int) and isinstance(final, int) and isinstance(interval, int)):
        return []
    first = -(-init // interval) * interval
    stride = interval * max(1, (final - first) // interval // MAX_SCHEDULE)
    steps = [*range(first, final, stride), final]
    return [ScheduleStep(step=step, wanted=kept_after(spec, step, subspaces)) for step in steps]


def kept_after(spec: AdamssSpec, step: int, subspaces: int) -> int:
    """Return how many subspaces of a resolved spec may be active after a step."""
    init, final = spec.init_warmup, spec.final_warmup
    assert isinstance(init, int)
    assert isinstance(final, int)
    target = min(spec.asa_target_subspaces, subspaces)
    if step <= init:
        return subspaces
    if step >= final:
        return target
    left = 1 - (step - init) / (final - init)
    return int(target + (subspaces - target) * left**spec.asa_schedule_exponent)


def _memory(spec: JobSpec, facts: ModelFacts, shapes: Sequence[Shape], trained: int) -> int:
    """Add up frozen weights and bases, trained weights with gradients and two moments, and activations of a batch.

    Padded or packed, a batch has at most batch_size rows of max_length tokens.
    """
    training, record = spec.training, record_of(spec)
    basis = sum(shape.basis * shape.columns for shape in shapes)
    tokens = training.batch_size * record.tokens_per_example(spec, facts)
    # Each linear layer keeps its input or output for the backward pass; attention keeps about as much again.
    widths = sum(module.in_features + module.out_features for module in facts.linear_modules)
    if training.gradient_checkpointing:
        blocks = len({match.group() for module in facts.linear_modules if (match := BLOCK.match(module.name))}) or 1
        widths = widths // blocks + blocks * (facts.hidden_size or 0)  # one block at a time, and what goes into each
    linear = sum(module.in_features * module.out_features for module in facts.linear_modules)
    half = training.precision in ("bf16", "fp16") and training.quantization is None
    # Quantised layers answer in the type of their input, which is fp32.
    activations = tokens * widths * (HALF if half else FLOAT)
    if half and not training.gradient_checkpointing:
        activations += HALF * linear  # autocast's copies of the frozen weights, which the backward pass reads again
    activations += record.head_activation_bytes(tokens, facts)
    saved = int(linear * (FLOAT - QUANTISED.get(training.quantization or "", FLOAT)))
    return FLOAT * (facts.parameters + basis + 4 * trained) - saved + activations


def _artifacts(spec: JobSpec, facts: ModelFacts, shapes: Sequence[Shape], adapter: int, head: int) -> ArtifactBytes:
    basis = sum(shape.basis * shape.columns + shape.rows for shape in shapes)
    rank = max(shape.ranks for shape in shapes)
    lora = sum(rank * (shape.columns + shape.rows) for shape in shapes)
    sizes = {
        "adapter": FLOAT * (adapter + basis + head) + FILE_OVERHEAD,
        "lora": FLOAT * (lora + head) + FILE_OVERHEAD,
        "merged": FLOAT * (facts.parameters + head) + FILE_OVERHEAD,
    }
    return ArtifactBytes(**{name: size for name, size in sizes.items() if name in spec.artifacts})
