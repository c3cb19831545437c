"""One adapter under training."""

from __future__ import annotations

import time
from typing import Any

from peft import PeftModel
from torch.optim import AdamW

from adamss_core.training.batches import StepRows
from adamss_core.training.idle_targets import IdleTargets
from adamss_core.training.metric_accumulator import MetricAccumulator
from adamss_core.training.optimizer import make_schedule
from adamss_core.training.phases import log_phase
from adamss_core.training.process_load import ProcessLoad
from adamss_core.training.progress import Progress
from adamss_core.training.setup import Setup
from adamss_core.training.step import StepOutcome
from adamss_core.training.subspaces import Subspaces
from adamss_core.training.training_clock import TrainingClock


class AdapterTraining:
    """Everything that belongs to one adapter while it is trained; the base model may carry others.

    Attributes:
        setup: the adapter's inputs: name, task, data, plan, reporter.
        model: the PeftModel, without accelerate's wrapping.
        optimizer: of this adapter's parameters, without accelerate's wrapping.
        schedule: of the learning rates.
        subspaces: ASA of this adapter.
        idle_targets: watch over modules without a gradient.
        progress: counts that checkpoints keep.
        metrics: sums since the last logged step.
        load: use of the machine.
        clock: time of the training against the job's limit.
    """

    def __init__(self, setup: Setup, model: PeftModel, optimizer: AdamW) -> None:
        self.setup, self.model, self.optimizer = setup, model, optimizer
        self.schedule = make_schedule(optimizer, setup.training, setup.plan.total_steps)
        self.subspaces = Subspaces(model, setup.name)
        self.idle_targets = IdleTargets(model, setup.name, setup.reporter)
        self.progress = Progress(micro_batch=setup.training.batch_size)
        self.metrics = MetricAccumulator(setup.accelerator.device)
        self.load = ProcessLoad(setup.accelerator.device)
        self.clock = TrainingClock(None if setup.contender is not None else setup.request.time_limit)
        self.rows_of_step = StepRows(
            setup.train.lengths, setup.rows_per_step, setup.training.seed, setup.plan.total_steps
        )
        self._trainable: int | None = None
        self._begun, self._first_step = time.monotonic(), 0

    @property
    def finished(self) -> bool:
        """Whether no step is left, or early stopping has ended the training."""
        return self.progress.stopped_early or self.progress.step >= self.setup.last_step

    @property
    def epoch(self) -> float:
        """Finished epochs, with the share of the current one."""
        return self.progress.step / self.setup.plan.steps_per_epoch

    @property
    def eta_seconds(self) -> float:
        """Estimated seconds to the last step, by the mean of this process's steps, or to the time limit."""
        progress, total = self.progress, self.setup.last_step
        per_step = (time.monotonic() - self._begun) / max(1, progress.step - self._first_step)
        left = 0.0 if self.finished else per_step * (total - progress.step)
        return min(left, self.clock.left)

    @property
    def trainable_parameters(self) -> int:
        """Number of elements that are still trained; it changes at mask steps only."""
        if self._trainable is None:
            self._trainable = self.model.get_nb_trainable_parameters()[0]
        return self._trainable

    @property
    def evaluation_is_due(self) -> bool:
        """Whether the state after the current step is evaluated."""
        step, plan, every = self.progress.step, self.setup.plan, self.setup.training.eval_steps
        return step >= self.setup.last_step or step % (plan.steps_per_epoch if every == "epoch" else every) == 0

    def begin(self) -> None:
        """Start the clock of `eta_seconds`: an evaluation before training is no part of a step."""
        self._begun = time.monotonic()

    def advance(self) -> None:
        """Count the step that the optimizer has made, look at its gradients and run ASA on them; report a pruned map.

        Raises:
            TrainingError: target_without_effect.
        """
        self.progress.step += 1
        self.idle_targets.look(self.progress.step, last=self.evaluation_is_due)
        if self.subspaces.update(self.progress.step, self.optimizer):
            self._trainable = None
            self.report_subspaces()

    def measure(self, outcome: StepOutcome, seconds: float) -> None:
        """Add a finished step to the metrics that the next log entry reports."""
        if self.progress.step == self._first_step + 1:
            log_phase("making first step", seconds)
        self.progress.seconds += seconds
        self.metrics.add(outcome.loss, outcome.loss_terms, outcome.rows, outcome.tokens, seconds)

    def report_subspaces(self) -> None:
        """Report the state of all subspaces, where the adapter has any."""
        if self.subspaces.total:
            self.setup.reporter.subspaces(step=self.progress.step, summary=self.subspaces.summary())

    def export(self) -> dict[str, Any]:
        """Return the state beside tensors and random generators, as JSON values."""
        self.progress.time_used_seconds = self.clock.seconds
        return {
            "progress": self.progress.export(),
            "window": self.metrics.export(),  # the name in the checkpoint format
            "schedule": self.schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `export` gave; the model and the optimizer's tensors are restored by then."""
        self.progress = Progress.restore(state["progress"])
        self.metrics.restore(state["window"])
        self.schedule.load_state_dict(state["schedule"])
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        self._first_step = self.progress.step
