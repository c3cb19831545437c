"""`run`: from a request to verified artifacts."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from accelerate.utils import set_seed
from peft import PeftModel
from transformers import PreTrainedModel

from adamss_core.files import load_adapter
from adamss_core.spec import plan_steps
from adamss_core.training.artifacts import publish
from adamss_core.training.base_model import Source, add_adapter
from adamss_core.training.checkpoints import CheckpointStore, hash_file
from adamss_core.training.errors import translated_errors
from adamss_core.training.examples import within_limit
from adamss_core.training.inheritance import inherit
from adamss_core.training.loop import Trainer
from adamss_core.training.modes import save_activations
from adamss_core.training.progress import Progress
from adamss_core.training.request import Reporter, RunRequest, RunResult
from adamss_core.training.setup import Setup, make_accelerator
from adamss_core.training.silent import SilentReporter
from adamss_core.training.snapshot import ADAPTER
from adamss_core.training.tasks import Task, task_of
from adamss_core.training.worst import worst_examples


def run(request: RunRequest, reporter: Reporter) -> RunResult:
    """Trains, or goes on from the newest complete checkpoint in the request's folder, and writes the artifacts.

    Raises:
        TrainingError: the run cannot go on.
        Stopped: the reporter asked for it; run the same request again to go on.
    """
    with translated_errors():
        return _run(request, reporter)


def _run(request: RunRequest, reporter: Reporter) -> RunResult:
    begun = time.monotonic()
    accelerator = make_accelerator(request.spec)
    if not accelerator.is_main_process:
        reporter = SilentReporter()
    store = CheckpointStore(request.folder / "checkpoints", request.keep_checkpoints)
    with accelerator.main_process_first():  # it clears away what the others must not find
        start = _starting_point(store, reporter)
    task = task_of(request.spec)
    data = task.load_data(request, reporter)
    source = Source.of(request, data.classes)
    processor = task.load_processor(source)
    set_seed(request.spec.training.seed)
    base, fresh = task.load_base(replace(source, quantization=request.spec.training.quantization), processor)
    if start is None:
        task.prepare_head(base, data)
    limit = task.limit(processor, base.config)
    data, train, evaluation = within_limit(task, data, processor, limit, reporter)
    # The schedule's "auto" is derived here, from the rows that are left; the adapter's config takes numbers only.
    plan = plan_steps(request.spec, len(train), accelerator.num_processes)
    request = replace(request, spec=plan.spec)
    model = _build_model(base, fresh, request, reporter, task, store, start)
    subspaces = model.base_model.asa_summary()["total"]
    plan = plan.for_subspaces(subspaces)
    reporter.planned(plan, subspaces)
    if request.spec.training.gradient_checkpointing:
        save_activations(model, reporter)
    setup = Setup(
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
    set_seed(request.spec.training.seed)  # whether a decomposition came from the cache must not matter
    trainer = Trainer(setup, model, store)
    if start is not None:
        trainer.restore(store.path(start))
    _report_start(setup, trainer)
    trainer.train()
    published, step = _published_model(setup, trainer, store)
    result = _result(setup, trainer, published, step, time.monotonic() - begun)
    worst = worst_examples(setup, published, trainer.progress.micro_batch)
    artifacts = publish(setup, published, result) if accelerator.is_main_process else []
    return RunResult(result=result, artifacts=artifacts, worst=worst)


def _starting_point(store: CheckpointStore, reporter: Reporter) -> int | None:
    damaged: list[tuple[int, str]] = []
    start = store.newest(lambda step, problem: damaged.append((step, problem)))
    reporter.resumed(start or 0)
    for step, problem in damaged:
        reporter.event(
            "checkpoint_damaged",
            f"The checkpoint of step {step} is not used: {problem}.",
            {"step": step, "problem": problem},
        )
    return start


def _build_model(
    base: PreTrainedModel,
    fresh: list[str],
    request: RunRequest,
    reporter: Reporter,
    task: Task,
    store: CheckpointStore,
    start: int | None,
) -> PeftModel:
    if start is None:
        model = add_adapter(base, fresh, request, reporter, task.peft_type, task.trains_head)
        if request.init_from is not None:
            inherit(model, request.init_from)
            reporter.event(
                "adapter_inherited",
                f"Training starts from the adapter of job {request.spec.init_from}.",
                {"job": request.spec.init_from},
            )
        return model
    model = load_adapter(base, store.path(start) / ADAPTER)
    config = model.peft_config["default"]
    config.modules_to_save = (
        list(dict.fromkeys(config.modules_to_save or [])) or None
    )  # PEFT appends the head's names at every load
    return model


def _identity(request: RunRequest, total_steps: int) -> dict[str, str | int]:
    """What must be the same for a checkpoint's position to mean the same."""
    return {
        "train": hash_file(request.train_file),
        "eval": hash_file(request.eval_file) if request.eval_file else "",
        "seed": request.spec.training.seed,
        "total_steps": total_steps,
    }


def _report_start(setup: Setup, trainer: Trainer) -> None:
    accelerator, plan = setup.accelerator, setup.plan
    for warning in plan.warnings:
        setup.reporter.event("warning", warning, {})
    setup.reporter.event(
        "training_started",
        f"Training on {accelerator.device.type} from step {trainer.progress.step} to {plan.total_steps}.",
        {
            "step": trainer.progress.step,
            "total_steps": plan.total_steps,
            "steps_per_epoch": plan.steps_per_epoch,
            "device": str(accelerator.device),
            "precision": accelerator.mixed_precision,
            "processes": accelerator.num_processes,
            "trainable_parameters": trainer.trainable_parameters,
            "subspaces": trainer.total_subspaces,
        },
    )


def _published_model(setup: Setup, trainer: Trainer, store: CheckpointStore) -> tuple[PeftModel, int]:
    """The best checkpoint's model, in fp32 on the CPU, and its step."""
    progress: Progress = trainer.progress
    best = progress.best_step
    live = setup.accelerator.unwrap_model(trainer.wrapped, keep_fp32_wrapper=False)
    live._compiled_call_impl = None  # a few answers on the CPU are not worth compiling for it
    setup.accelerator.free_memory()
    quantised = setup.training.quantization is not None  # published for the same base in full precision
    if best is None and quantised:
        best = progress.step
    if best is not None and (best != progress.step or quantised):
        if (problem := store.problem(best)) is None:
            base, _ = setup.task.load_base(setup.source, setup.processor)
            folder = store.path(best) / ADAPTER
            return load_adapter(base, folder, is_trainable=False, allow_other_base=quantised), best
        setup.reporter.event(
            "checkpoint_damaged",
            f"The best checkpoint, of step {best}, cannot be read ({problem}); the last state is published instead.",
            {"step": best, "problem": problem},
        )
    return live.to("cpu").eval(), progress.step


def _result(setup: Setup, trainer: Trainer, model: PeftModel, step: int, seconds: float) -> dict[str, Any]:
    progress = trainer.progress
    values = progress.best_values if step == progress.best_step else progress.last_values
    summary = model.base_model.asa_summary()
    return {
        **values,
        "step": step,
        "steps": progress.step,
        "total_steps": setup.plan.total_steps,
        "epochs": trainer.epoch,
        "stopped_early": progress.stopped_early,
        "baseline": setup.task.baseline(setup.train, setup.evaluation, setup.data.classes),
        "train_rows": len(setup.train),
        "eval_rows": len(setup.evaluation),
        "held_out": setup.data.held_out,
        "labels": setup.data.classes,
        "pruning": {"total": summary["total"], "active": summary["active"], "target": summary["target"]},
        "trainable_parameters": trainer.trainable_parameters,
        "training_seconds": progress.seconds,
        "seconds": seconds,
    }
