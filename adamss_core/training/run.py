"""`run`: from a request to verified artifacts."""

from __future__ import annotations

import logging
import signal
import time
from functools import partial
from typing import Any

from accelerate.utils import set_seed
from peft import PeftModel

from adamss_core.fileio.run_folder import RunFolder
from adamss_core.spec.contender_names import headless
from adamss_core.spec.plan import TIME_LIMIT
from adamss_core.training.adapter import AdapterTraining
from adamss_core.training.adapter_size import adapter_size, check_budget, published_elements
from adamss_core.training.artifacts import incomplete, publish
from adamss_core.training.basis import calibrate_basis
from adamss_core.training.checkpoints import CheckpointStore, checkpoint_gone
from adamss_core.training.compared_artifacts import add_to_artifacts, remove_copies
from adamss_core.training.comparison import OwnTraining, compare
from adamss_core.training.errors import IncompleteRun, Stopped, translated_errors
from adamss_core.training.final_evaluation import FinalEvaluation, evaluate_published
from adamss_core.training.finished_model import finished_model, load_own
from adamss_core.training.loop import Trainer
from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.phases import enter_phase, phase
from adamss_core.training.preparation import prepare
from adamss_core.training.ranks import Ranks, joined
from adamss_core.training.reports import report_start
from adamss_core.training.request import AdapterSize, Reporter, RunRequest, RunResult
from adamss_core.training.setup import Setup, make_accelerator
from adamss_core.training.snapshot import ADAPTER

logger = logging.getLogger(__name__)


def run(request: RunRequest, reporter: Reporter) -> RunResult:
    """Train, from the newest complete checkpoint in the request's folder if there is one, and write the artifacts.

    Raises:
        TrainingError: the run cannot continue.
        IncompleteRun: an artifact failed, or the time limit ended the training; the (other) artifacts are complete.
        Stopped: the reporter asked for it; run the same request again to resume.
    """
    with translated_errors(), joined() as ranks:
        return _run(request, reporter if ranks.is_first else NullReporter(), ranks)


def follow(request: RunRequest) -> None:
    """Be a rank beside the first, in a process of its own; return when the run has ended, however it ended.

    It needs no database: the first rank reports, checkpoints and publishes, and says when all stop. A SIGTERM is
    therefore ignored here: a launcher sends it to all, and the first rank answers it with an order to all. An error of
    this rank is raised by the first one.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        run(request, NullReporter())
    except Stopped as end:
        logger.info("%s", end)
    except Exception:
        logger.exception("this process of the run has failed")


def _run(request: RunRequest, reporter: Reporter, ranks: Ranks) -> RunResult:
    setup, own, outcome = _train(request, reporter, ranks)  # its model is out of memory before a contender's is loaded
    if own is None:
        return outcome
    try:
        compared = compare(setup, own, outcome)
        return add_to_artifacts(setup, compared) if ranks.is_first else compared
    finally:
        remove_copies(outcome.artifacts)


def _train(request: RunRequest, reporter: Reporter, ranks: Ranks) -> tuple[Setup, OwnTraining | None, RunResult]:
    """Train and publish the job's own adapter; its training is returned where there are contenders."""
    begun = time.monotonic()
    if (problem := headless(request.spec)) is not None:
        raise problem
    with phase("finding device"):
        accelerator = make_accelerator(request.spec)
    folder = RunFolder(request.folder).checkpoints if request.publishes is None else request.publishes.parent
    store = CheckpointStore(folder, request.keep_checkpoints)
    with ranks.first_before_others():  # it removes what the others must not see
        start = _starting_point(store, reporter) if request.publishes is None else _published(store, request, reporter)
    checkpoint = None if start is None else store.path(start)
    setup, model = prepare(request, reporter, accelerator, checkpoint, ranks)
    calibration = None if checkpoint is not None else calibrate_basis(setup, model)
    size = adapter_size(model)
    check_budget(model, setup.plan.spec, size)
    reporter.planned(setup.plan, size)
    set_seed(request.spec.training.seed)  # whether a decomposition came from the cache must not matter
    with phase("making trainer"):
        trainer = Trainer(setup, model, store)
    trainer.adapter.progress.calibration = calibration
    if checkpoint is not None:
        trainer.restore(checkpoint)
    if request.publishes is None:
        report_start(trainer.adapter)
        enter_phase(reporter, "training")
        trainer.train()
    enter_phase(reporter, "evaluating")
    if request.publishes is not None:
        trainer.evaluate_restored()
    published, step = finished_model(trainer, partial(load_own, setup, divided=setup.divides_base))
    result = _result(trainer.adapter, size, published, step, time.monotonic() - begun)
    # A quantised base predicts otherwise than the full one that its adapter is published for.
    predictions = None if setup.training.quantization is not None else trainer.predictions.of(step)
    final = evaluate_published(setup, published, trainer.adapter.progress, predictions)
    result |= final.result
    own = _own_training(trainer, size, result, final) if setup.plan.spec.compare else None
    if own is None:
        ranks.part()  # the others need not wait for the artifacts
    if setup.divides_base and ranks.is_first:  # from the host's memory: no device has the whole base
        published = load_own(setup, store.path(step) / ADAPTER)
    artifacts, failed = publish(setup, published, result, final.reports) if ranks.is_first else ([], [])
    outcome = RunResult(result=result, artifacts=artifacts, hardest=final.hardest, evaluation=final.reports)
    if failed:
        raise incomplete(outcome, failed)
    if trainer.out_of_time and request.publishes is None:  # contenders are compared once the job has made all its steps
        remove_copies(outcome.artifacts)
        raise _at_limit(outcome, trainer.adapter)
    return setup, own, outcome


def _at_limit(outcome: RunResult, adapter: AdapterTraining) -> IncompleteRun:
    """Make the error of a run that the time limit ended, with the best model so far."""
    step, steps = outcome.result["step"], outcome.result["steps"]
    error = IncompleteRun(
        TIME_LIMIT,
        f"The time limit of {adapter.clock.limit:g} s ended the training after step {steps} of "
        f"{outcome.result['total_steps']}. The best model so far, of step {step}, is published.",
        hint="Resume the job with a larger time_limit_seconds to train the rest.",
        where="time_limit_seconds",
    )
    error.outcome = outcome
    return error


def _starting_point(store: CheckpointStore, reporter: Reporter) -> int | None:
    """Return the step of the newest complete checkpoint, or None; report it and the damaged ones."""
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


def _published(store: CheckpointStore, request: RunRequest, reporter: Reporter) -> int:
    """Return the step of the checkpoint that is published.

    Raises:
        TrainingError: checkpoint_gone, where it was removed or damaged.
    """
    assert request.publishes is not None
    reporter.resumed(0)
    step = store.step_of(request.publishes)
    if (problem := store.problem(step)) is not None:
        raise checkpoint_gone(step, problem)
    return step


def _own_training(trainer: Trainer, size: AdapterSize, result: dict[str, Any], final: FinalEvaluation) -> OwnTraining:
    """Return what contenders must repeat of a finished training, and stand beside."""
    adapter = trainer.adapter
    return OwnTraining(
        modules=sorted(adapter.model.base_model.adapted_layers(adapter.setup.name)),
        sizes=(result["elements"]["published"], size.head_parameters),
        steps=adapter.progress.step,
        micro_batch=adapter.progress.micro_batch,
        evaluated=final.evaluated,
    )


def _result(adapter: AdapterTraining, size: AdapterSize, model: PeftModel, step: int, seconds: float) -> dict[str, Any]:
    """Return the facts of a finished run.

    Args:
        size: before the first step.
        model: the published model.
        step: at which it was published.
        seconds: of this process, from its start.
    """
    setup, progress = adapter.setup, adapter.progress
    values = progress.best_values if step == progress.best_step else progress.last_values
    summary = model.base_model.asa_summary()
    return {
        **values,
        **({"before_training": progress.before_training} if progress.before_training else {}),
        "step": step,
        "steps": progress.step,
        "total_steps": setup.plan.total_steps,
        "epochs": adapter.epoch,
        "stopped_early": progress.stopped_early,
        "time_limit_reached": not adapter.finished and setup.request.publishes is None,
        "train_rows": setup.data.train.row_count,
        "train_tokens": int(setup.train.lengths.sum()),
        "eval_rows": setup.data.evaluation.row_count,
        "held_out": setup.data.held_out,
        "labels": setup.data.classes,
        "pruning": {"total": summary["total"], "active": summary["active"], "target": summary["target"]},
        "trainable_parameters": adapter.trainable_parameters,
        "elements": {
            "peak": size.adapter_parameters,
            "end": adapter.trainable_parameters - size.head_parameters,
            "published": published_elements(model),
        },
        **({"calibration": progress.calibration} if progress.calibration else {}),
        "device": setup.accelerator.device.type,
        "training_seconds": progress.seconds,
        "time_used_seconds": progress.time_used_seconds,
        "seconds": seconds,
    }
