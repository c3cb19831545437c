"""Estimate the cost of a job from shapes alone: parameters, memory, files."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.calibration_plan import plan_calibration, sketch_width
from adamss_core.spec.comparison_plan import ContenderEstimate, contender_estimates
from adamss_core.spec.device_memory import MemoryOfJob
from adamss_core.spec.division import enough_devices, is_divided
from adamss_core.spec.facts import LinearModule, ModelFacts
from adamss_core.spec.job import JobSpec
from adamss_core.spec.lengths import UNKNOWN, Lengths, LengthSource, largest_batch
from adamss_core.spec.memory import FLOAT, Device, DeviceKind, MemoryPhases, Sizes
from adamss_core.spec.modules_in_full import default_heads, saved_parameters, trained_in_full, untied_parameters
from adamss_core.spec.plan import Plan
from adamss_core.spec.shapes import (
    LoraShape,
    Shape,
    elements_left,
    kept_subspaces,
    lora_ranks,
    removes_pruned,
    shape_of,
)
from adamss_core.spec.tasks import record_of

FILE_OVERHEAD = 20_000  # config, manifest, card and zip directory
MAX_SCHEDULE = 500  # mask steps that are listed
GPU = Device("cuda")


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


class Elements(BaseModel):
    """Elements of A and B over all modules, at most where the weights decide over sizes; the head is left out."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    peak: int
    """Elements of A and B at the start of training."""
    end: int
    """Elements that are still trained after ASA has pruned."""
    published: int
    """Elements of the published adapter: pruned ones count where they are frozen, not where they are removed."""


class Estimate(BaseModel):
    """What a job will do and need."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    trainable_parameters: int
    """Elements of A, B, the head and other modules in full that are trained before pruning; where `range_reason` says
    so, at most. Of a job that has run, exactly."""
    least_trainable_parameters: int | None = None
    """The same, at least; null in plans of older versions."""
    range_reason: str | None = None
    """Reason why the number is known only when the run has read the model's weights; null where it is exact, as it is
    once the job runs."""
    adapter_parameters: int
    """Of these, A and B."""
    elements: Elements | None = None
    """A and B at the start, at the end and in the published adapter; null in plans of older versions."""
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
    device: DeviceKind = "cpu"
    """Kind of device that memory and seconds are estimated for: that of the workers, "cpu" or "cuda"."""
    devices: int = 1
    """Devices that the job asks for; the memory is that of each."""
    sharded: bool = False
    """Whether each device holds a part of the base, rather than a copy."""
    memory_bytes: int
    """Peak memory of each device: on a GPU the device's, with weights, gradients, optimizer and activations of its rows
    of the largest batch; on a CPU the whole process's, in the largest of its phases."""
    least_memory_bytes: int | None = None
    """The same with one row at a time, as far as batches are halved where memory runs out; null in plans of older
    versions."""
    enough_devices: int | None = None
    """Fewest devices, as large as the largest of a live worker, that suffice, with a part of the base each where copies
    do not; null where no number suffices, and where no memory is known."""
    memory_phases: MemoryPhases | None = None
    """The phases of which `memory_bytes` is the largest; null on a GPU."""
    lengths: LengthSource = "max_length"
    """Source of `batch_tokens`: "measured" with the model's tokenizer, guessed from the
    "characters" of the rows until that is done, or `max_length` for all rows."""
    batch_tokens: int = 0
    """Tokens of the largest batch, padding included."""
    seconds: float | None = None
    """Time from start to end, by the rate of finished jobs with the same base model on the same kind of device; null
    where none has finished."""
    calibration_rows: int | None = None
    """Training rows that `adamss.basis` and the rows of `adamss.row_share` are taken from before the first step; null
    where neither is."""
    calibration_share: float | None = None
    """Time of that, as a share of the time of all steps, about."""
    lora_rank: int | None = None
    """Rank of the LoRA, that of its widest module, at most: subspaces that ASA removes have none, frozen ones keep
    theirs, and the weights decide over dynamic ranks. Null in plans of older versions."""
    least_lora_rank: int | None = None
    """The same, at least, once every subspace that is left has learnt something."""
    lora_bias: bool | None = None
    """Whether the LoRA has biases, which some servers refuse: those of modules with a bias, where `adamss.bias` is
    "trained". Null in plans of older versions."""
    comparison: list[ContenderEstimate] = []
    """Training of the contenders that the job names (`compare`): their steps come on top of `steps`, their
    time is in `seconds`. One model is in memory at a time: `memory_bytes` is that of the largest."""
    artifact_bytes: ArtifactBytes
    """Sizes of the files, roughly, and at most where ASA removes subspaces (`adamss.asa_pruned`); frozen ones take as
    much as active ones."""


def total_subspaces(modules: Sequence[LinearModule], spec: AdamssSpec) -> int:
    return sum(shape_of(module, spec).subspaces for module in modules)


def estimate(
    plan: Plan,
    facts: ModelFacts,
    modules: Sequence[LinearModule],
    labels: int,
    train_rows: int,
    eval_rows: int,
    *,
    lengths: Lengths = UNKNOWN,
    device: Device = GPU,
    largest: int | None = None,
) -> Estimate:
    """Return the numbers of a planned job.

    Args:
        modules: as `match_targets` returns them.
        labels: outputs of the head.
        lengths: of the training rows; without them every row has the most tokens that it may have.
        largest: bytes of the largest device that the job may get; None if unknown.
    """
    spec = plan.spec
    shapes = [shape_of(module, spec.adamss) for module in modules]
    adapter = sum(shape.a + shape.b for shape in shapes)
    head = facts.head_parameters_fixed + facts.head_parameters_per_label * labels
    kept = kept_subspaces(spec.adamss, sum(shape.subspaces for shape in shapes))
    least_rank, rank = lora_ranks(spec.adamss, shapes, kept)
    lora_bias = spec.adamss.bias == "trained" and any(module.bias for module in modules)
    full = trained_in_full(spec.adamss, facts, default_heads(record_of(spec).peft_type))
    saved = head + saved_parameters(full, facts)
    calibration = plan_calibration(plan, train_rows)
    sizes = Sizes(
        basis=sum(shape.basis * shape.columns for shape in shapes),
        trained=adapter + saved,
        sketches=0 if calibration is None else sum(_sketch(shape, spec.adamss) for shape in shapes),
    )
    copies = untied_parameters([*full, *(module.name for module in modules)], facts)
    contenders = contender_estimates(plan, modules, saved)
    rivals = [Sizes(0, one.adapter_parameters + saved, 0) for one in contenders]
    memory = MemoryOfJob(spec, facts, modules, [sizes, *rivals], lengths, device)
    divided = is_divided(spec, memory, largest)
    need = memory.on(spec.resources.devices, sharded=divided)
    return Estimate(
        trainable_parameters=adapter + saved,
        least_trainable_parameters=sum(shape.least for shape in shapes) + saved,
        range_reason=_range_reason(spec.adamss, facts, shapes),
        adapter_parameters=adapter,
        elements=planned_elements(spec.adamss, shapes),
        head_parameters=saved,
        subspaces=sum(shape.subspaces for shape in shapes),
        modules=len(shapes),
        steps=plan.total_steps,
        steps_per_epoch=plan.steps_per_epoch,
        train_rows=train_rows,
        eval_rows=eval_rows,
        device=device.kind,
        devices=spec.resources.devices,
        sharded=divided,
        memory_bytes=need.bytes,
        least_memory_bytes=need.least,
        enough_devices=None if largest is None else enough_devices(spec, memory, largest),
        memory_phases=need.phases,
        lengths=lengths.source,
        batch_tokens=largest_batch(spec, facts, lengths).tokens,
        calibration_rows=None if calibration is None else calibration.rows,
        calibration_share=None if calibration is None else calibration.share,
        lora_rank=rank,
        least_lora_rank=least_rank,
        lora_bias=lora_bias,
        comparison=contenders,
        artifact_bytes=_artifacts(spec, facts, shapes, kept, LoraShape(rank, lora_bias), saved, head + copies),
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


def planned_elements(spec: AdamssSpec, shapes: Sequence[Shape]) -> Elements:
    """Count A and B of all modules before and after pruning."""
    total, peak = sum(shape.subspaces for shape in shapes), sum(shape.a + shape.b for shape in shapes)
    end = elements_left(shapes, min(spec.asa_target_subspaces, total)) if spec.use_asa else peak
    return Elements(peak=peak, end=end, published=end if removes_pruned(spec) else peak)


def _sketch(shape: Shape, spec: AdamssSpec) -> int:
    """Return the elements that calibration keeps of a module, for its basis and for the choice of its rows."""
    other = shape.columns if spec.basis == "inputs" else shape.rows
    basis = 0 if spec.basis == "weights" else shape.columns * sketch_width(other, shape.basis)
    return basis + (shape.rows * sketch_width(shape.columns, 0) if spec.row_share < 1 else 0)


def _range_reason(spec: AdamssSpec, facts: ModelFacts, shapes: Sequence[Shape]) -> str | None:
    reasons = []
    if any(shape.least < shape.a + shape.b for shape in shapes):
        reasons.append(
            "use_dynamic_rank chooses each subspace's rank by the weights."
            if spec.use_dynamic_rank
            else "subspace_rank is limited by the rows of each subspace, which depend on the weights."
        )
    if facts.fresh_modules is None:
        reasons.append("Modules that the model's files have no weights for, such as a pooler, add to it.")
    return " ".join(reasons) or None


def _artifacts(
    spec: JobSpec, facts: ModelFacts, shapes: Sequence[Shape], kept: int, lora: LoraShape, saved: int, added: int
) -> ArtifactBytes:
    """Estimate the files.

    Args:
        kept: subspaces that are left over all modules.
        saved: elements of the modules in full.
        added: elements of the merged model beside the base's.
    """
    # A module without a subspace is left out of adapter and LoRA.
    basis = sum(sorted((shape.basis * shape.columns + shape.rows for shape in shapes), reverse=True)[:kept])
    a = min(sum(shape.a for shape in shapes), kept * max(shape.a_of_subspace for shape in shapes))
    b = sum(shape.b for shape in shapes)
    modules = sorted((lora.elements(shape) for shape in shapes), reverse=True)[:kept]
    besides = facts.processor_bytes + FILE_OVERHEAD
    sizes = {
        "adapter": FLOAT * (a + b + basis + saved) + besides,
        "lora": FLOAT * (sum(modules) + saved) + besides,
        "merged": FLOAT * (facts.parameters + added) + besides,
    }
    return ArtifactBytes(**{name: size for name, size in sizes.items() if name in spec.artifacts})
