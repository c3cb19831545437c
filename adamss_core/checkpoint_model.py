"""Load the model of a checkpoint, also of a run that goes on: the base, and the adapter as it was at that step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adamss_core.adapter_files import load_adapter
from adamss_core.published import Loaded
from adamss_core.spec import JobSpec
from adamss_core.training.base_model import Source
from adamss_core.training.checkpoints import CheckpointStore, checkpoint_gone
from adamss_core.training.snapshot import ADAPTER
from adamss_core.training.tasks import task_on


@dataclass(frozen=True)
class CheckpointModel:
    """A checkpoint, and what of its job its files do not hold.

    Attributes:
        folder: with all checkpoints of the run.
        spec: JSON text of the job's planned spec.
        classes: names of the classes in the order of their ids.
    """

    folder: Path
    step: int
    spec: str
    classes: tuple[str, ...] = ()


def load_checkpoint(checkpoint: CheckpointModel, base: str, revision: str | None) -> Loaded:
    """Load a checkpoint's model, in fp32 on the CPU.

    Args:
        base: folder or hub id of the base model.

    Raises:
        TrainingError: checkpoint_gone, where it was removed or damaged; or the reason why the model cannot be loaded.
    """
    store = CheckpointStore(checkpoint.folder, 1)
    if (problem := store.problem(checkpoint.step)) is not None:
        raise checkpoint_gone(checkpoint.step, problem)
    spec = JobSpec.model_validate_json(checkpoint.spec)
    task = task_on(spec, base, revision)
    source = Source(base, revision, spec.base_model, checkpoint.classes)
    processor = task.load_processor(source)
    model, _ = task.load_base(source, processor)
    limit = task.limit(processor, model.config)
    quantised = spec.training.quantization is not None  # trained on other values than the base in full precision has
    adapter = store.path(checkpoint.step) / ADAPTER
    loaded = load_adapter(model, adapter, is_trainable=False, allow_other_base=quantised)
    return Loaded(task, loaded.eval(), processor, source, limit)
