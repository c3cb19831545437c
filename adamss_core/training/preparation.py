"""From a request to a setup and a model that can be trained: data, base, adapter, examples, plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import PeftModel

from adamss_core.adapter_files import active_adapter, load_adapter
from adamss_core.fileio.hashing import sha256_of
from adamss_core.spec import make_plan
from adamss_core.training.activation_checkpointing import checkpoint_activations
from adamss_core.training.base_model import Source, add_adapter
from adamss_core.training.data import Data
from adamss_core.training.length_policy import encode_data
from adamss_core.training.request import Reporter, RunRequest
from adamss_core.training.setup import Setup
from adamss_core.training.snapshot import ADAPTER
from adamss_core.training.tasks import Task, task_of
from adamss_core.training.warm_start import warm_start


def prepare(
    request: RunRequest, reporter: Reporter, accelerator: Accelerator, checkpoint: Path | None
) -> tuple[Setup, PeftModel]:
    """Load data, base and adapter, encode the rows, and plan the steps.

    Args:
        checkpoint: folder of the checkpoint to resume from; None for a fresh adapter.

    Returns:
        The setup, and the adapted model on the CPU.

    Raises:
        TrainingError: data or base model cannot be used.
    """
    task = task_of(request.spec)
    data = task.load_data(request, reporter)
    source = Source.of(request, data.classes)
    processor = task.load_processor(source)
    set_seed(request.spec.training.seed)
    model = _adapted_model(request, reporter, task, data, source, processor, checkpoint)
    if request.spec.training.gradient_checkpointing:
        checkpoint_activations(model, reporter)
    limit = task.limit(processor, model.config)
    data, train, evaluation = encode_data(task, data, processor, limit, reporter)
    subspaces = model.base_model.asa_summary()["total"]
    plan = make_plan(request.spec, len(train), subspaces, accelerator.num_processes)
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
        collate=task.collator(processor, accelerator.device),
        training_collate=task.training_collator(processor, accelerator.device, model, train, limit, reporter),
        limit=limit,
        plan=plan,
        identity=_identity(request, plan.total_steps),
    )
    return setup, model


def _adapted_model(
    request: RunRequest,
    reporter: Reporter,
    task: Task,
    data: Data,
    source: Source,
    processor: Any,
    checkpoint: Path | None,
) -> PeftModel:
    """Load the base with a fresh adapter, or with the checkpoint's."""
    source = replace(
        source,
        quantization=request.spec.training.quantization,
        unquantised=tuple(request.spec.adamss.modules_to_save or ()),
    )
    base, fresh = task.load_base(source, processor)
    if checkpoint is not None:
        return _resumed_adapter(base, checkpoint / ADAPTER)
    task.prepare_head(base, data)
    model = add_adapter(base, fresh, request, reporter, task.record.peft_type, task.record.trains_head)
    if request.init_from is not None:
        warm_start(model, request.init_from)
        reporter.event(
            "adapter_inherited",
            f"Training starts from the adapter of job {request.spec.init_from}.",
            {"job": request.spec.init_from},
        )
    return model


def _resumed_adapter(base: Any, folder: Path) -> PeftModel:
    model = load_adapter(base, folder)
    config = model.peft_config[active_adapter(model)]
    # PEFT appends the head's names at every load.
    config.modules_to_save = list(dict.fromkeys(config.modules_to_save or [])) or None
    return model


def _identity(request: RunRequest, total_steps: int) -> dict[str, str | int]:
    """Return the values that must match before a checkpoint's position means the same."""
    return {
        "train": sha256_of(request.train_file),
        "eval": sha256_of(request.eval_file) if request.eval_file else "",
        "seed": request.spec.training.seed,
        "total_steps": total_steps,
    }
