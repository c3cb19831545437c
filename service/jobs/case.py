"""Gather a submitted job and its data for the rules of planning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from adamss_core.spec import JobSpec, ModelFacts, SpecProblem, TaskRecord, record_of
from adamss_core.spec.split import RowCounts, count_rows
from adamss_core.spec.survey import Survey
from service.datasets.left_out import Completed
from service.shared.database.tables import Dataset, Json

TRAIN = "dataset.train"


@dataclass(frozen=True)
class Ancestor:
    """The job whose adapter a job starts from.

    Attributes:
        spec: its planned spec; None where no such job exists.
        has_adapter: whether its adapter, or the checkpoint that is meant, can be read.
        classes: that it tells apart, in the order of their ids; empty where it classifies nothing.
        checkpoint: step of the checkpoint that is meant; None for the published adapter.
        steps: of the checkpoints that it keeps.
    """

    id: str
    status: str = ""
    spec: JobSpec | None = None
    has_adapter: bool = False
    classes: tuple[str, ...] = ()
    checkpoint: int | None = None
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class AppliedPreset:
    """A preset that a spec names, and the values that it has filled in, by their paths."""

    name: str
    fields: Json


@dataclass(frozen=True)
class Case:
    """A job's spec, filled in, with its data.

    Attributes:
        train, evaluation: data sets; `evaluation` is None where the job names none, or one that does not exist.
        more_train: further data sets to train on.
        ancestor: None where the job starts from nothing.
        training_rows, evaluation_rows: surveys; empty where the columns do not fit or the data set is missing.
        training_parts: the survey of each data set to train on.
        test, test_rows: the same of `dataset.test`.
        completed: what the spec left out of task and columns.
        preset: what the preset that the spec names has filled in.
    """

    spec: JobSpec
    train: Dataset
    evaluation: Dataset | None
    ancestor: Ancestor | None
    completed: Completed
    preset: AppliedPreset | None = None
    training_rows: Survey = field(default_factory=lambda: Survey(0))
    evaluation_rows: Survey = field(default_factory=lambda: Survey(0))
    test: Dataset | None = None
    test_rows: Survey = field(default_factory=lambda: Survey(0))
    more_train: tuple[Dataset, ...] = ()
    training_parts: tuple[Survey, ...] = ()

    @property
    def training(self) -> dict[str, Dataset]:
        """Return field of the spec -> data set to train on."""
        if not self.more_train:
            return {TRAIN: self.train}
        return {f"{TRAIN}[{i}]": dataset for i, dataset in enumerate((self.train, *self.more_train))}

    @cached_property
    def row_counts(self) -> RowCounts:
        """Count the rows that the job trains on and holds out."""
        stratified = self.record.is_stratified
        parts = [part.labels if stratified else {"": part.usable} for part in self.training_parts]
        data = self.spec.dataset
        weights = [one.weight for one in data.training_sets]
        return count_rows(parts, weights, data.max_rows, data.eval_fraction if data.eval is None else None)

    @property
    def record(self) -> TaskRecord:
        return record_of(self.spec)

    @property
    def held_out(self) -> int:
        """Count the training rows that are held out; by `dataset.group` about so many."""
        return self.row_counts.held_out

    @property
    def train_count(self) -> int:
        """Count the rows that are trained on in an epoch."""
        return sum(self.row_counts.trained)

    @property
    def eval_count(self) -> int:
        """Count the rows that are evaluated on."""
        return self.held_out or self.evaluation_rows.usable - self.evaluation_rows.unknown


Found = SpecProblem | Sequence[SpecProblem] | None
Rule = Callable[[Case], Found]
ModelRule = Callable[[Case, ModelFacts], Found]
DataWarning = Callable[[Case], list[str]]
ModelWarning = Callable[[Case, ModelFacts], list[str]]
