"""Train contenders beside a finished adapter, in the same process and on the same examples, and compare them.

The job's own artifacts are complete by then: no contender can delay or lose them.
"""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate.utils import set_seed

from adamss_core.failpoints import failpoint
from adamss_core.fileio.run_folder import RunFolder
from adamss_core.spec.contender_names import Contender, contenders_of
from adamss_core.training.comparison_store import ContenderStore
from adamss_core.training.comparison_table import (
    ComparisonTable,
    Entry,
    contender_entry,
    failed_entry,
    own_entry,
)
from adamss_core.training.contender_reporter import ContenderReporter
from adamss_core.training.contenders import (
    contender_setup,
    contender_to_train,
    count_elements,
    trained_contender,
)
from adamss_core.training.errors import Stopped, TrainingError, translated_errors
from adamss_core.training.evaluator import Evaluated, Evaluator
from adamss_core.training.finished_model import finished_model
from adamss_core.training.loop import Trainer
from adamss_core.training.phases import enter_phase
from adamss_core.training.request import RunResult
from adamss_core.training.setup import Setup
from adamss_core.training.snapshot import ADAPTER

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnTraining:
    """A job's own training, as its contenders must repeat it.

    Attributes:
        modules: that are adapted, by their names in the base.
        sizes: elements of A and B in the published delta, and of the head and other modules in full.
        steps: that were made.
        micro_batch: rows that go through the model at a time.
        evaluated: the published model on the held-out rows, then on the test rows, if there are any.
    """

    modules: list[str]
    sizes: tuple[int, int]
    steps: int
    micro_batch: int
    evaluated: list[Evaluated]


def compare(setup: Setup, own: OwnTraining, outcome: RunResult) -> RunResult:
    """Train every contender that no earlier attempt has trained; return the outcome with `comparison` in its result.

    A contender that fails is in the table with its error.

    Raises:
        Stopped: the reporter asked for it; run the same request again to resume.
    """
    enter_phase(setup.reporter, "comparing")
    contenders = contenders_of(setup.plan.spec)
    table = _own_table(setup, own, outcome.result)
    names = ", ".join(table.names)
    _free_memory(setup)
    setup.reporter.event(
        "comparison_started",
        f"The artifacts are complete; now {names} {'is' if len(contenders) == 1 else 'are'} trained for comparison, "
        f"{own.steps} steps each.",
        {"contenders": list(table.names), "steps": own.steps},
    )
    for place, contender in enumerate(contenders, start=1):
        table.running = {
            "contender": contender.name,
            "place": place,
            "step": 0,
            "steps": own.steps,
            "eta_seconds": None,
        }
        _Contest(setup, own, contender, table, outcome.result).run()
    table.running = None
    setup.reporter.event("comparison_finished", _summary(table), {"comparison": table.export()})
    return replace(outcome, result=outcome.result | {"comparison": table.export()})


def _own_table(setup: Setup, own: OwnTraining, result: dict[str, Any]) -> ComparisonTable:
    metric, training = setup.task.record.metric(setup.training.metric_for_best), setup.training
    baseline = result.get("baseline") or {}
    value = baseline.get(metric.name)
    table = ComparisonTable(
        metric=metric,
        names=setup.plan.spec.compare,
        baseline=None if value is None else (str(baseline["predicts"]), value),
    )
    facts = {
        "learning_rate": training.learning_rate,
        "head_learning_rate": training.head_learning_rate or training.learning_rate,
        "step": result["step"],
        "steps": own.steps,
        "seconds": result["training_seconds"],
    }
    table.entries.append(own_entry(own.sizes, facts, own.evaluated))
    return table


@dataclass(frozen=True)
class _Contest:
    """The training and evaluation of one contender."""

    setup: Setup
    own: OwnTraining
    contender: Contender
    table: ComparisonTable
    result: dict[str, Any]

    def run(self) -> None:
        """Train, unless an earlier attempt has; add the row to the table and report it."""
        reporter = ContenderReporter(self.setup.reporter, self.contender.name, self._show)
        setup = contender_setup(self.setup, self.contender, reporter, self.own.steps)
        folder = RunFolder(self.setup.request.folder).comparison / self.contender.slug
        store = ContenderStore(folder, setup.identity)
        self._show(0, None)
        entry = store.finished()
        if entry is None:
            entry = self._guarded(setup, store)
            if setup.ranks.is_first:
                store.finish(entry)
            self._report(entry)
        self.table.entries.append(entry)
        _free_memory(setup)

    def _guarded(self, setup: Setup, store: ContenderStore) -> Entry:
        """Return the row of the contender, also of one that fails: it must not cost the job's own result."""
        main = setup.ranks.is_first
        several = setup.ranks.size > 1  # an error of one process alone would leave the others waiting
        started = setup.ranks.from_first(store.start() if main else True)  # one answer for all processes
        if not started:
            return failed_entry(
                self.contender.name,
                "process_died",
                "The training process has died each time that this contender was trained.",
                "Look at the worker's log and the machine's memory; the job's own result is complete.",
            )
        try:
            with translated_errors():
                return self._trained(setup, store)
        except Stopped:
            if main:
                store.stop()
            raise
        except TrainingError as error:
            if several and not error.deterministic:
                raise
            return failed_entry(self.contender.name, error.code, error.message, error.hint)
        except Exception as error:
            if several:
                raise
            logger.warning("the contender %s failed", self.contender.name, exc_info=True)
            message = f"{type(error).__name__}: {error}"[:300]
            return failed_entry(self.contender.name, "contender_failed", message, "See the job's log.")

    def _trained(self, setup: Setup, store: ContenderStore) -> Entry:
        steps = store.checkpoints
        with setup.ranks.first_before_others():  # it removes what the others must not see
            start = steps.newest(lambda step, problem: logger.warning("checkpoint %d is not used: %s", step, problem))
        checkpoint = None if start is None else steps.path(start)
        modules = self.own.modules
        model = contender_to_train(setup, self.contender, modules, None if checkpoint is None else checkpoint / ADAPTER)
        sizes = count_elements(model)
        failpoint("contender")
        set_seed(setup.training.seed)  # as before the job's own first step
        trainer = Trainer(setup, model, steps)
        progress = trainer.adapter.progress
        progress.micro_batch = self.own.micro_batch
        if checkpoint is not None:
            trainer.restore(checkpoint)
            progress = trainer.adapter.progress
        trainer.train()
        model, step = finished_model(trainer, lambda folder: trained_contender(setup, self.contender, modules, folder))
        facts = {
            "learning_rate": self.contender.learning_rate(self.setup.training.learning_rate),
            "head_learning_rate": setup.training.head_learning_rate,
            "step": step,
            "steps": progress.step,
            "seconds": progress.seconds,
        }
        evaluator = Evaluator.of(setup, model.to(setup.accelerator.device), progress.micro_batch)
        predictions = [evaluator.predict(one.part) for one in self.own.evaluated]
        return contender_entry(self.contender.name, sizes, facts, self.own.evaluated, predictions)

    def _show(self, step: int, eta_seconds: float | None) -> None:
        assert self.table.running is not None
        self.table.running |= {"step": step, "eta_seconds": eta_seconds}
        self.setup.reporter.result(self.result | {"comparison": self.table.export()})

    def _report(self, entry: Entry) -> None:
        name, facts = entry["contender"], {"contender": entry["contender"], "entry": entry}
        if (error := entry["error"]) is not None:
            self.setup.reporter.event("contender_failed", f"{name} failed: {error['message']}", facts)
            return
        metric, measured = self.table.metric.name, entry["held_out"]
        value = "not evaluated" if measured is None else f"{metric} {_number(measured['metrics'][metric])}"
        self.setup.reporter.event("contender_finished", f"{name} is trained: {value}.", facts)


def _summary(table: ComparisonTable) -> str:
    """Put the metric of each row in one sentence."""
    metric = table.metric.name
    shown = [
        f"{entry['contender']} {_number(entry['held_out']['metrics'][metric])}"
        for entry in table.entries
        if entry["held_out"] is not None
    ]
    return f"Compared by {metric}: {', '.join(shown) or 'nothing could be evaluated'}."


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"


def _free_memory(setup: Setup) -> None:
    """Free a model and its optimizer before the next one is loaded, so that no two are in memory at once."""
    setup.accelerator.free_memory()
    gc.collect()
    if setup.accelerator.device.type == "cuda":
        torch.cuda.empty_cache()
