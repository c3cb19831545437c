"""What jobs report, as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from service.http.openapi import Out
from service.shared.database.tables import SubspaceMap


class MetricOut(Out):
    """What was measured at a step."""

    seq: int
    """Place in the job's sequence; send the last one seen as `after`."""
    kind: Literal["train", "eval"]
    """A logged step of training, or an evaluation."""
    step: int
    """Optimizer step; 0 for the evaluation before training that text generation makes."""
    epoch: float
    """Passes over the training rows."""
    time: datetime
    """When it was measured."""
    values: dict[str, float | int | None]
    """loss, learning_rate, grad_norm, samples_per_second, tokens_per_second, memory_bytes, active_subspaces,
    target_subspaces, trainable_parameters; cpu_percent (100 is a core), process_memory_bytes, and of a GPU
    gpu_memory_bytes, gpu_percent where NVML is installed; eval_... of an evaluation."""


class EventOut(Out):
    """Something that happened to a job."""

    seq: int
    """Place in the job's sequence; send the last one seen as `after`."""
    time: datetime
    """When it happened."""
    attempt: int
    """The attempt it belongs to."""
    type: str
    """What happened, for programs."""
    message: str
    """What happened, in words."""
    data: dict[str, Any]
    """Numbers and names that belong to it."""


class CheckpointOut(Out):
    """A checkpoint."""

    step: int
    """Optimizer step at which it was written."""
    attempt: int
    """The attempt that wrote it."""
    best: bool
    """Whether it is the best one so far."""
    values: dict[str, Any]
    """The evaluation at this step, where there was one."""
    created_at: datetime
    """When it was written."""


class MapOut(Out):
    """The ASA map at a step."""

    object: Literal["subspaces"] = "subspaces"
    """Always "subspaces"."""
    seq: int
    """Place in the job's sequence; send the last one seen as `after`."""
    step: int
    """The step of this map."""
    total: int
    """Subspaces at the start."""
    active: int
    """Subspaces that are not pruned."""
    target: int | None
    """Subspaces that are left when pruning ends."""
    trainable_parameters: int | None = None
    """Elements of A and B that are still trained."""
    modules: dict[str, list[dict[str, Any]]]
    """Adapted module -> its subspaces, each with index, rows, rank, importance, active and pruned_at."""
    schedule: list[dict[str, Any]]
    """The mask steps, each with step, wanted and reached (null for one to come)."""


class SubspacesOut(MapOut):
    """The ASA map at a step, and where there are others."""

    steps: list[int]
    """All steps that have a map."""


class ReplayStepOut(Out):
    """A mask step of a replay."""

    step: int
    """Optimizer step."""
    wanted: int
    """Subspaces that the schedule of the replay's target keeps."""
    kept: int
    """Subspaces that the replay keeps."""
    recorded: int
    """Subspaces that the run itself kept."""


class ReplayOut(Out):
    """What another target would have kept, from the scores that the run recorded. Nothing was trained for it: with
    fewer subspaces the run's scores would have come out differently after the first pruning."""

    object: Literal["replay"] = "replay"
    """Always "replay"."""
    target: int
    """The target that is asked about."""
    recorded_target: int
    """The target of the run itself."""
    exact: bool
    """Whether every choice was made from scores of its own step: true where the replay never keeps a subspace that
    the run had pruned, whose last score then stands in."""
    total: int
    """Subspaces at the start."""
    active: int
    """Subspaces that the replay keeps at its end."""
    modules: dict[str, list[dict[str, Any]]]
    """Adapted module -> its subspaces, as in the map, with the replay's `active` and `pruned_at`."""
    steps: list[ReplayStepOut]
    """The recorded mask steps."""


class LogOut(Out):
    """A piece of the training log."""

    object: Literal["log"] = "log"
    """Always "log"."""
    data: str
    """The text."""
    offset: int
    """Where it begins, in bytes."""
    next: int
    """Send it as `offset` for what follows."""


def show_map(row: SubspaceMap) -> MapOut:
    return MapOut.model_validate({**row.summary, "seq": row.seq, "step": row.step})
