"""The training loop: steps, evaluations, checkpoints, and stopping on request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import Tensor

from adamss_core.spec.plan import TIME_LIMIT
from adamss_core.training import reports
from adamss_core.training.adapter import AdapterTraining
from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.compilation import compile_model
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.evaluation import KeptPredictions, predict, values_of
from adamss_core.training.illustration import illustrate
from adamss_core.training.optimizer import make_optimizer
from adamss_core.training.ranks.orders import Orders
from adamss_core.training.ranks.random_streams import other_streams, start_stream
from adamss_core.training.request import Values
from adamss_core.training.scores import finite
from adamss_core.training.setup import Setup
from adamss_core.training.snapshot import restore_snapshot, write_snapshot
from adamss_core.training.step import OptimizerStep, StepOutcome
from adamss_core.training.tasks.base import Predictions

CHECKPOINT_SECONDS = 60.0  # with checkpoint_steps "auto"


class Trainer:
    """Trains a model's adapter to the end of its plan, to its time limit, or to a stop.

    Attributes:
        adapter: the adapter under training.
        out_of_time: whether the time limit has ended the training.
        wrapped: the model in accelerate's wrapping, which is autocast's alone: gradients are added up by `step`.
        predictions: on the evaluation rows, of the best and of the last evaluation of this process.
    """

    def __init__(self, setup: Setup, model: PeftModel, store: CheckpointStore) -> None:
        self.store, self.accelerator, self._ranks = store, setup.accelerator, setup.ranks
        self.wrapped = self.accelerator.prepare_model(model, evaluation_mode=True)
        self._ranks.align(_own_tensors(model))
        start_stream(self._ranks, setup.training.seed, 0)
        self._accelerated = self.accelerator.prepare_optimizer(make_optimizer(model, setup.training))
        self.adapter = AdapterTraining(setup, model, self._accelerated.optimizer)
        if setup.training.compile:
            compile_model(setup, self.wrapped, self.adapter.subspaces.prunings)
        self._step = OptimizerStep(setup, self.wrapped, self._accelerated, self.adapter.schedule)
        self.predictions = KeptPredictions()
        self._saved_at = time.monotonic()
        self.out_of_time = False
        self._orders = Orders(
            self._ranks,
            {
                "stop": setup.reporter.stop_requested,
                "end": lambda: self.adapter.clock.is_over,
                "save": lambda: time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS,
            },
        )

    # --- from start to end ----------------------------------------------------------------------------------------

    def restore(self, folder: Path) -> None:
        """Resume from a checkpoint whose adapter the model was loaded with.

        Raises:
            TrainingError: checkpoint_mismatch, where it belongs to other data or another plan.
        """
        state = restore_snapshot(folder, self.adapter.model, self.adapter.optimizer, self._ranks)
        if state["identity"] != self.adapter.setup.identity:
            raise TrainingError(
                "checkpoint_mismatch",
                "The checkpoint belongs to a run on other data or of another length.",
                hint="Run the job in a folder of its own.",
            )
        self.adapter.restore(state)
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def train(self) -> None:
        """Make all steps that are left, or as many as the time limit allows.

        Raises:
            Stopped: the reporter asked for it; a checkpoint is written.
            TrainingError: the training cannot continue, or the limit is over before the first step.
        """
        adapter = self.adapter
        adapter.clock.begin(adapter.progress.time_used_seconds)
        if adapter.progress.step == 0:
            adapter.report_subspaces()
            self._evaluate_before()
        self.wrapped.train()
        if not adapter.finished:
            self._stop_if_asked(saved=True)
        adapter.begin()
        with closing(self._step):
            saved = True
            while not adapter.finished and not self._is_out_of_time():
                outcome = self._one_step()
                saved = self._after_step(outcome)
                self._stop_if_asked(saved=saved)
        if self.out_of_time:
            self._end_at_limit(saved=saved)
        adapter.progress.time_used_seconds = adapter.clock.seconds

    def _one_step(self) -> StepOutcome:
        begun = time.monotonic()
        adapter = self.adapter
        step = adapter.progress.step
        outcome = self._step(adapter.rows_of_step(step), adapter.rows_of_step(step + 1), adapter.progress)
        adapter.advance()
        self._accelerated.zero_grad()
        adapter.measure(outcome, time.monotonic() - begun)
        return outcome

    def _after_step(self, outcome: StepOutcome) -> bool:
        """Evaluate, report and save as far as due; return whether a checkpoint was written."""
        adapter = self.adapter
        evaluated = adapter.evaluation_is_due
        if evaluated:
            self._evaluate()
        if adapter.progress.step % adapter.setup.training.logging_steps == 0 or adapter.finished:
            reports.report_step(adapter, outcome)
        reports.report_progress(adapter)
        if not (evaluated or self._checkpoint_is_due()):
            return False
        self._save()
        return True

    # --- evaluation -----------------------------------------------------------------------------------------------

    def _evaluate_before(self) -> None:
        """Report what the model can do before its first step, where the task needs no new head.

        It stands beside what was learnt; as a state without training it is never the best one.
        """
        adapter, setup = self.adapter, self.adapter.setup
        if setup.task.record.trains_head or setup.contender is not None:
            return
        values: Values = illustrate(
            setup.reporter,
            "Nothing is known of the model before training",
            lambda: self._values(self._predictions()),
            {},
            processes=self._ranks.size,
        )
        if values:
            adapter.progress.before_training = values
            reports.report_evaluation(adapter, values)
        self._sample()

    def evaluate_restored(self) -> None:
        """Evaluate the restored state, which is the one that counts from now on, whatever was better."""
        self.adapter.progress.best_step = None
        self._evaluate(may_stop=False)
        reports.report_progress(self.adapter)

    def _predictions(self) -> Predictions:
        setup = self.adapter.setup
        return predict(
            self.wrapped,
            setup.task,
            setup.evaluation,
            setup.collate,
            self.adapter.progress.micro_batch,
            setup.accelerator,
            setup.reporter.stop_requested,
            self._ranks,
        )

    def _values(self, predictions: Predictions) -> Values:
        """Return the metrics; values that are not finite become None."""
        setup = self.adapter.setup
        return finite(values_of(predictions, setup.task, setup.evaluation, setup.data.classes))

    def _evaluate(self, *, may_stop: bool = True) -> None:
        """Evaluate, and report it.

        Args:
            may_stop: whether early stopping counts this evaluation.
        """
        adapter, setup = self.adapter, self.adapter.setup
        predictions = self._predictions()
        values = self._values(predictions)
        qualifies = adapter.subspaces.ramp_ended(adapter.progress.step)
        training = setup.training
        metric = setup.task.record.metric(training.metric_for_best)
        patience = training.early_stopping_patience if may_stop else None
        adapter.progress.evaluated(values, metric, patience, qualifies=qualifies)
        self.predictions.keep(adapter.progress.step, predictions, adapter.progress.best_step)
        reports.report_evaluation(adapter, values)
        self._sample()
        if adapter.progress.stopped_early:
            reports.report_early_stop(adapter)

    def _sample(self) -> None:
        """Report what the model generates by now, where its task generates."""
        adapter = self.adapter
        if not self._ranks.passes or adapter.setup.contender is not None:
            return
        lost = f"No samples are written at step {adapter.progress.step}"
        samples: list[dict[str, Any]] = illustrate(
            adapter.setup.reporter, lost, self._samples, [], processes=self._ranks.per_pass
        )
        if samples:
            reports.report_samples(adapter, samples)
        self.wrapped.train()

    def _samples(self) -> list[dict[str, Any]]:
        setup = self.adapter.setup
        model = self.accelerator.unwrap_model(self.wrapped).eval()
        with self.accelerator.autocast():
            return setup.task.samples(model, setup.processor, setup.data.evaluation, setup.limit)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def _checkpoint_is_due(self) -> bool:
        every = self.adapter.setup.training.checkpoint_steps
        if self.adapter.finished:
            return True
        if every == "auto":
            return self._orders.given("save", self.adapter.progress.step)
        return self.adapter.progress.step % every == 0

    def _save(self) -> None:
        setup, progress = self.adapter.setup, self.adapter.progress
        self._step.require_finite(progress.step)
        streams = other_streams(self._ranks)
        if self._ranks.is_first:
            path = self.store.write(progress.step, lambda folder: self._write(folder, streams))
            self.store.retain(progress.best_step)
            setup.reporter.checkpoint(
                step=progress.step,
                path=path.relative_to(setup.request.folder).as_posix(),
                best=progress.best_step == progress.step,
                values=dict(progress.last_values) if self.adapter.evaluation_is_due else {},
            )
        self._ranks.wait()
        self._saved_at = time.monotonic()

    def _write(self, folder: Path, streams: dict[str, Tensor]) -> None:
        adapter, scaler = self.adapter, self.accelerator.scaler
        state: dict[str, Any] = {
            "job_id": adapter.setup.request.job_id,
            "identity": adapter.setup.identity,
            **adapter.export(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        write_snapshot(folder, adapter.model, adapter.setup.name, adapter.optimizer, state, streams)

    # --- stopping -------------------------------------------------------------------------------------------------

    def _stop_if_asked(self, *, saved: bool) -> None:
        if not self._orders.given("stop", self.adapter.progress.step):
            return
        if not saved:
            self._save()
        raise Stopped(f"stopped at step {self.adapter.progress.step}")

    def _is_out_of_time(self) -> bool:
        self.out_of_time = self._orders.given("end", self.adapter.progress.step)
        return self.out_of_time

    def _end_at_limit(self, *, saved: bool) -> None:
        """Write a checkpoint, then evaluate the last state: it may be the best.

        In this order, so that a run with a larger limit resumes as if it had never been interrupted: the evaluation is
        no part of its schedule.

        Raises:
            TrainingError: time_limit, where no step was made.
        """
        adapter = self.adapter
        if adapter.progress.step == 0:
            raise TrainingError(
                TIME_LIMIT,
                f"The time limit of {adapter.clock.limit:g} s was over before the first step: nothing is trained.",
                hint="Resume the job with a larger time_limit_seconds.",
                where="time_limit_seconds",
            )
        if not saved:
            self._save()
        if not adapter.evaluation_is_due:  # else it was just evaluated
            self._evaluate(may_stop=False)
        reports.report_time_limit(adapter)


def _own_tensors(model: PeftModel) -> Iterator[Tensor]:
    """Yield what an adapter adds to the base, or trains of it: each process has made it by itself."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad or ".adamss_" in name:
            yield parameter
    for name, buffer in model.named_buffers():
        if ".adamss_" in name:
            yield buffer
