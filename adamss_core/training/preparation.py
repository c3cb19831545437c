"""From a request to a setup and a model that can be trained: data, base, adapter, examples, plan."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import PeftModel
from transformers import PreTrainedModel

from adamss_core.adapter_files import active_adapter, load_adapter
from adamss_core.fileio.hashing import sha256_of
from adamss_core.spec import plan_steps
from adamss_core.training.activation_checkpointing import checkpoint_activations
from adamss_core.training.adapter_size import adapter_size
from adamss_core.training.base_model import Source, add_adapter
from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.class_head import take_over_head
from adamss_core.training.data import Data
from adamss_core.training.length_policy import encode_data, encode_test
from adamss_core.training.phases import enter_phase, phase
from adamss_core.training.ranks import Ranks
from adamss_core.training.ranks.sharding import parts_of, shard_base
from adamss_core.training.reports import report_division
from adamss_core.training.request import KeptCheckpoint, Reporter, RunRequest
from adamss_core.training.setup import Setup
from adamss_core.training.snapshot import ADAPTER
from adamss_core.training.stored_dtype import train_full_precision
from adamss_core.training.tasks import Task, task_on
from adamss_core.training.warm_start import unusable, warm_start


def prepare(
    request: RunRequest,
    reporter: Reporter,
    accelerator: Accelerator,
    checkpoint: Path | None,
    ranks: Ranks | None = None,
) -> tuple[Setup, PeftModel]:
    """Load data, base and adapter, encode the rows, and plan the steps.

    Args:
        checkpoint: folder of the checkpoint to resume from; None for a fresh adapter.
        ranks: the processes of the run; None for a single one.

    Returns:
        The setup, and the adapted model on the CPU.

    Raises:
        TrainingError: data or base model cannot be used.
    """
    ranks = ranks or Ranks()
    divided = ranks.size > 1 and request.spec.resources.shard is True
    task = task_on(request.spec, request.model, request.revision)
    enter_phase(reporter, "loading")
    with phase("reading rows"):
        data = task.load_data(request, reporter)
    source = Source.of(request, data.classes)
    with phase("loading tokenizer or processor"):
        processor = task.load_processor(source)
    fresh_base = partial(_fresh_base, request, task, replace(source, divided=divided), processor, data)
    with phase("loading base model"):
        if checkpoint is None:
            base, fresh = fresh_base(reporter)
        else:
            set_seed(request.spec.training.seed)
            base, fresh = _base(request, task, replace(source, divided=divided), processor)
    limit = task.limit(processor, base.config)
    enter_phase(reporter, "tokenising")
    with phase("encoding rows"):
        data, train, evaluation = encode_data(task, data, processor, limit, reporter)
    test = None
    if data.test is not None:
        test_rows, test = encode_test(task, data.test, data.classes, processor, limit, reporter)
        data = replace(data, test=test_rows)
    # The schedule's "auto" is derived from the rows that are left; the adapter's config takes numbers only.
    plan = plan_steps(request.spec, len(train))
    request = replace(request, spec=plan.spec)
    enter_phase(reporter, "decomposing" if checkpoint is None else "restoring")
    with phase("adding adapter"), ranks.first_before_others():  # others find its decompositions in the cache
        model = _adapted_model(base, fresh, request, reporter, task, source, checkpoint)
    if divided:
        train_full_precision(model)
        shard_base(model, ranks, accelerator)
        report_division(reporter, ranks.size, *parts_of(model))
    plan = plan.for_subspaces(adapter_size(model).subspaces)
    if request.spec.training.gradient_checkpointing:
        checkpoint_activations(model, reporter)
    setup = Setup(
        name=active_adapter(model),
        request=request,
        reporter=reporter,
        accelerator=accelerator,
        task=task,
        source=source,
        processor=processor,
        data=data,
        train=train,
        evaluation=evaluation,
        test=test,
        collate=task.collator(processor, accelerator.device),
        training_collate=task.training_collator(processor, accelerator.device, model, train, limit, reporter),
        training_losses=task.training_losses(train, data.classes, accelerator.device, reporter),
        limit=limit,
        plan=plan,
        identity=_identity(request, plan.total_steps),
        fresh_base=fresh_base,
        ranks=ranks,
    )
    return setup, model


def _fresh_base(
    request: RunRequest, task: Task, source: Source, processor: Any, data: Data, reporter: Reporter
) -> tuple[PreTrainedModel, list[str]]:
    """Load the base with the values that the head starts from: the same ones each time, by the seed."""
    set_seed(request.spec.training.seed)
    base, fresh = _base(request, task, source, processor)
    if not take_over_head(base, fresh, task.auto_model, source, reporter):
        task.prepare_head(base, data)
    return base, fresh


def _base(request: RunRequest, task: Task, source: Source, processor: Any) -> tuple[PreTrainedModel, list[str]]:
    """Load the base to train on, quantised where the job asks for it; see `Task.load_base`."""
    source = replace(
        source,
        quantization=request.spec.training.quantization,
        unquantised=tuple(request.spec.adamss.modules_to_save or ()),
    )
    return task.load_base(source, processor)


def _adapted_model(
    base: PreTrainedModel,
    fresh: list[str],
    request: RunRequest,
    reporter: Reporter,
    task: Task,
    source: Source,
    checkpoint: Path | None,
) -> PeftModel:
    """Put a fresh adapter on the base, or the checkpoint's."""
    if checkpoint is not None:
        return _resumed_adapter(base, checkpoint / ADAPTER)
    model = add_adapter(base, fresh, request, reporter, task.record.peft_type, task.record.trains_head)
    if request.init_from is not None:
        warm_start(model, _start(request.init_from), request.spec.adamss, task.auto_model, source, reporter)
        _report_start(request, reporter)
    return model


def _start(start: Path | KeptCheckpoint) -> Path | KeptCheckpoint:
    """Return the adapter to start from: of a checkpoint that folder of it which holds the adapter.

    Raises:
        TrainingError: init_from_unusable, where the checkpoint was removed or damaged.
    """
    if not isinstance(start, KeptCheckpoint):
        return start
    store = CheckpointStore(start.folder.parent, 1)
    step = store.step_of(start.folder)
    if (problem := store.problem(step)) is not None:
        raise unusable(f"its checkpoint of step {step} cannot be used ({problem})", "Name another checkpoint.")
    return replace(start, folder=start.folder / ADAPTER)


def _report_start(request: RunRequest, reporter: Reporter) -> None:
    start = request.spec.starting_point
    if start is None:
        return
    place = "" if start.checkpoint is None else f", as it was at step {start.checkpoint}"
    message = f"Training starts from the adapter of job {start.job}{place}."
    reporter.event("adapter_inherited", message, start.model_dump(exclude_none=True))


def _resumed_adapter(base: Any, folder: Path) -> PeftModel:
    model = load_adapter(base, folder)
    config = model.peft_config[active_adapter(model)]
    # PEFT appends the head's names at every load.
    config.modules_to_save = list(dict.fromkeys(config.modules_to_save or [])) or None
    return model


def _identity(request: RunRequest, total_steps: int) -> dict[str, str | int]:
    """Return the values that must match before a checkpoint's position means the same; test data change nothing."""
    return {
        "train": " ".join(map(sha256_of, request.train_files)),
        "eval": sha256_of(request.eval_file) if request.eval_file else "",
        "seed": request.spec.training.seed,
        "total_steps": total_steps,
    }
