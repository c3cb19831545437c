"""Gather a submitted job and its data for the rules of planning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from adamss_core.spec import JobSpec, ModelFacts, SpecProblem, TaskRecord, record_of
from adamss_core.spec.split import held_out
from adamss_core.spec.survey import Survey
from service.datasets.left_out import Completed
from service.shared.database.tables import Dataset


@dataclass(frozen=True)
class Ancestor:
    """The job whose adapter a job starts from.

    Attributes:
        spec: its planned spec; None where no such job exists.
        has_adapter: whether its adapter can be read.
        classes: that it tells apart, in the order of their ids; empty where it classifies nothing.
    """

    id: str
    status: str = ""
    spec: JobSpec | None = None
    has_adapter: bool = False
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A job's spec, filled in, with its data.

    Attributes:
        train, evaluation: data sets; `evaluation` is None where the job names none, or one that does not exist.
        ancestor: None where the job starts from nothing.
        training_rows, evaluation_rows: surveys; empty where the columns do not fit or the data set is missing.
        test, test_rows: the same of `dataset.test`.
        completed: what the spec left out of task and columns.
    """

    spec: JobSpec
    train: Dataset
    evaluation: Dataset | None
    ancestor: Ancestor | None
    completed: Completed
    training_rows: Survey = field(default_factory=lambda: Survey(0))
    evaluation_rows: Survey = field(default_factory=lambda: Survey(0))
    test: Dataset | None = None
    test_rows: Survey = field(default_factory=lambda: Survey(0))

    @property
    def record(self) -> TaskRecord:
        return record_of(self.spec)

    @property
    def held_out(self) -> int:
        """Count the training rows that are held out."""
        if self.spec.dataset.eval is not None:
            return 0
        rows = self.training_rows
        groups = rows.labels if self.record.is_stratified else {"": rows.usable}
        return sum(held_out(groups, self.spec.dataset.eval_fraction).values())

    @property
    def train_count(self) -> int:
        """Count the rows that are trained on."""
        return self.training_rows.usable - self.held_out

    @property
    def eval_count(self) -> int:
        """Count the rows that are evaluated on."""
        return self.held_out or self.evaluation_rows.usable - self.evaluation_rows.unknown


Found = SpecProblem | Sequence[SpecProblem] | None
Rule = Callable[[Case], Found]
ModelRule = Callable[[Case, ModelFacts], Found]
DataWarning = Callable[[Case], list[str]]
ModelWarning = Callable[[Case, ModelFacts], list[str]]
