"""The training loop: steps, what is reported after them, evaluations and checkpoints."""

from __future__ import annotations

import math
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from adamss_core import asa
from adamss_core.training.batches import epoch_steps
from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.evaluation import evaluate
from adamss_core.training.modes import compile_model
from adamss_core.training.optimizer import make_optimizer, make_schedule
from adamss_core.training.progress import Progress
from adamss_core.training.setup import Setup
from adamss_core.training.snapshot import restore_snapshot, write_snapshot
from adamss_core.training.step import OptimizerStep, StepOutcome
from adamss_core.training.window import Window, memory_bytes

CHECKPOINT_SECONDS = 60.0  # with checkpoint_steps "auto"


class Trainer:
    """Trains one adapted model to the end of its plan, or to a stop.

    Attributes:
        model: the PeftModel, without accelerate's wrapping.
        progress: see `Progress`.
    """

    def __init__(self, setup: Setup, model: PeftModel, store: CheckpointStore) -> None:
        self.setup, self.model, self.store = setup, model, store
        accelerator, training = setup.accelerator, setup.training
        self.wrapped, self.accelerated = accelerator.prepare(model, make_optimizer(model, training))
        self.optimizer = self.accelerated.optimizer
        self.schedule = make_schedule(self.optimizer, training, setup.plan.total_steps)
        self.progress = Progress(micro_batch=training.batch_size)
        self.window = Window(accelerator.device)
        self.config = model.peft_config["default"]
        if training.compile:
            compile_model(setup, self.wrapped, self.config)
        self.step_function = OptimizerStep(setup, self.wrapped, self.accelerated, self.schedule)
        self.layers = list(model.base_model.adapted_layers("default").values())
        self.total_subspaces = sum(layer.layouts["default"].num_subspaces for layer in self.layers)
        self._epochs: dict[int, list[list[int]]] = {}  # number -> the rows of each step
        self._trainable: int | None = None
        self._started, self._started_at = time.monotonic(), 0
        self._saved_at = self._started

    # --- from start to end ----------------------------------------------------------------------------------------

    def restore(self, folder: Path) -> None:
        """Goes on from a checkpoint whose adapter the model was loaded with.

        Raises:
            TrainingError: checkpoint_mismatch, where it belongs to other data or another plan.
        """
        state = restore_snapshot(folder, self.model, self.optimizer)
        if state["identity"] != self.setup.identity:
            raise TrainingError(
                "checkpoint_mismatch",
                "The checkpoint belongs to a run on other data or of another length.",
                hint="Run the job in a folder of its own.",
            )
        self.progress = Progress.restore(state["progress"])
        self.window.restore(state["window"])
        self.schedule.load_state_dict(state["schedule"])
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        if (scaler := self.setup.accelerator.scaler) is not None and state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        self._started_at = self.progress.step

    def train(self) -> None:
        """Raises Stopped with a checkpoint written, or TrainingError."""
        if self.progress.step == 0:
            self.setup.reporter.subspaces(step=0, summary=self.model.base_model.asa_summary())
        self.wrapped.train()
        if not self.finished:
            self._stop_if_asked(saved=True)
        with closing(self.step_function):
            while not self.finished:
                outcome = self._one_step()
                saved = self._after_step(outcome)
                self._stop_if_asked(saved=saved)

    @property
    def finished(self) -> bool:
        return self.progress.stopped_early or self.progress.step >= self.setup.plan.total_steps

    @property
    def epoch(self) -> float:
        return self.progress.step / self.setup.plan.steps_per_epoch

    # --- one step -------------------------------------------------------------------------------------------------

    def _one_step(self) -> StepOutcome:
        begun = time.monotonic()
        progress = self.progress
        outcome = self.step_function(self._rows(progress.step), self._rows(progress.step + 1), progress)
        progress.step += 1
        self._update_subspaces()
        self.accelerated.zero_grad()
        seconds = time.monotonic() - begun
        progress.seconds += seconds
        self.window.add(outcome.loss, outcome.units, outcome.rows, outcome.tokens, seconds)
        return outcome

    def _rows(self, step: int) -> list[int]:
        """Rows of the step that follows `step` others, over all processes; none after the last one."""
        if step >= self.setup.plan.total_steps:
            return []
        number, position = divmod(step, self.setup.plan.steps_per_epoch)
        if number not in self._epochs:
            training = self.setup.training
            per_step = training.batch_size * training.gradient_accumulation_steps
            per_step *= self.setup.accelerator.num_processes
            steps = epoch_steps(self.setup.train.lengths, per_step, training.seed, number)
            self._epochs = {kept: self._epochs[kept] for kept in self._epochs if kept == number - 1} | {number: steps}
        return self._epochs[number][position]

    def _update_subspaces(self) -> None:
        """ASA after the optimizer's step; its picture is reported where it pruned."""
        if not self.config.use_asa:
            return
        step, tuner = self.progress.step, self.model.base_model
        tuner.update_and_allocate(step, optimizer=self.optimizer)
        if asa.is_mask_step(step, self.config):
            self._trainable = None
            self.setup.reporter.subspaces(step=step, summary=tuner.asa_summary())

    # --- after a step ---------------------------------------------------------------------------------------------

    def _after_step(self, outcome: StepOutcome) -> bool:
        """Reports, evaluates, saves; returns whether a checkpoint was written."""
        progress, training = self.progress, self.setup.training
        evaluated = self._evaluation_is_due()
        if evaluated:
            self._evaluate()
        if progress.step % training.logging_steps == 0 or self.finished:
            self._log(outcome)
        self._report_progress()
        if not (evaluated or self._checkpoint_is_due()):
            return False
        self._save()
        return True

    def _evaluation_is_due(self) -> bool:
        step, plan = self.progress.step, self.setup.plan
        every = self.setup.training.eval_steps
        return step >= plan.total_steps or step % (plan.steps_per_epoch if every == "epoch" else every) == 0

    def _evaluate(self) -> None:
        setup, progress = self.setup, self.progress
        values = evaluate(
            self.wrapped,
            setup.task,
            setup.evaluation,
            setup.data.classes,
            setup.collate,
            progress.micro_batch,
            setup.accelerator,
            setup.reporter.stop_requested,
        )
        values = {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}
        qualifies = not self.config.use_asa or progress.step >= self.config.final_warmup
        progress.evaluated(values, setup.training, qualifies=qualifies)
        setup.reporter.metrics(kind="eval", step=progress.step, epoch=self.epoch, values=values)
        self._sample()
        if progress.stopped_early:
            setup.reporter.event(
                "early_stopping",
                f"Stopped at step {progress.step}: {progress.without_gain} evaluations without improvement.",
                {"step": progress.step, "best_step": progress.best_step},
            )

    def _sample(self) -> None:
        """What the model writes by now, where it writes."""
        setup, step = self.setup, self.progress.step
        if not setup.accelerator.is_main_process:
            return
        model = setup.accelerator.unwrap_model(self.wrapped)
        model.eval()
        with setup.accelerator.autocast():
            samples = setup.task.samples(model, setup.processor, setup.data.evaluation, setup.limit)
        model.train()
        if samples:
            setup.reporter.event(
                "samples", f"{len(samples)} samples at step {step}.", {"step": step, "samples": samples}
            )

    def _log(self, outcome: StepOutcome) -> None:
        step = self.progress.step
        asa_on = self.config.use_asa
        values = self.window.values() | {
            "learning_rate": outcome.learning_rate,
            "grad_norm": outcome.finite_grad_norm(),
            "memory_bytes": memory_bytes(self.setup.accelerator.device),
            "active_subspaces": self.active_subspaces,
            "target_subspaces": asa.scheduled_subspaces(step, self.total_subspaces, self.config) if asa_on else None,
            "trainable_parameters": self.trainable_parameters,
        }
        self.window.restart()
        self.setup.reporter.metrics(kind="train", step=step, epoch=self.epoch, values=values)

    @property
    def active_subspaces(self) -> int:
        return asa.count_active(self.layers, "default") if self.config.use_asa else self.total_subspaces

    @property
    def trainable_parameters(self) -> int:
        """Changes at mask steps only."""
        if self._trainable is None:
            self._trainable = self.model.get_nb_trainable_parameters()[0]
        return self._trainable

    def _report_progress(self) -> None:
        step, total = self.progress.step, self.setup.plan.total_steps
        per_step = (time.monotonic() - self._started) / max(1, step - self._started_at)
        picture = None
        if self.config.use_asa:
            target = min(self.config.asa_target_subspaces, self.total_subspaces)
            picture = {"total": self.total_subspaces, "active": self.active_subspaces, "target": target}
        self.setup.reporter.progress(
            step=step,
            total_steps=total,
            epoch=self.epoch,
            eta_seconds=0.0 if self.finished else per_step * (total - step),
            asa=picture,
        )

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def _checkpoint_is_due(self) -> bool:
        every = self.setup.training.checkpoint_steps
        if self.finished:
            return True
        if every == "auto":
            return self._agreed(time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS)
        return self.progress.step % every == 0

    def _save(self) -> None:
        setup, progress = self.setup, self.progress
        self.step_function.require_finite(progress.step)
        if setup.accelerator.is_main_process:
            path = self.store.write(progress.step, self._write)
            self.store.retain(progress.best_step)
            best = progress.best_step == progress.step
            evaluated_now = progress.last_values if self._evaluation_is_due() else {}
            setup.reporter.checkpoint(
                step=progress.step,
                path=path.relative_to(setup.request.folder).as_posix(),
                best=best,
                values=dict(evaluated_now),
            )
        setup.accelerator.wait_for_everyone()
        self._saved_at = time.monotonic()

    def _write(self, folder: Path) -> None:
        scaler = self.setup.accelerator.scaler
        state: dict[str, Any] = {
            "job_id": self.setup.request.job_id,
            "identity": self.setup.identity,
            "progress": self.progress.export(),
            "window": self.window.export(),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }
        write_snapshot(folder, self.model, self.optimizer, state)

    def _stop_if_asked(self, *, saved: bool) -> None:
        if not self._agreed(self.setup.reporter.stop_requested()):
            return
        if not saved:
            self._save()
        raise Stopped(f"stopped at step {self.progress.step}")

    def _agreed(self, asked: bool) -> bool:
        """The same answer in all processes: yes where any of them says so."""
        accelerator = self.setup.accelerator
        if accelerator.num_processes == 1:
            return asked
        flag: Tensor = accelerator.reduce(torch.tensor(int(asked), device=accelerator.device), reduction="sum")
        return bool(flag.item())
