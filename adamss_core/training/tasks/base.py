"""The training half of a task, as a run calls it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from adamss_core.spec import JobSpec, TaskRecord, record_of
from adamss_core.spec.cells import Cells, why_left_out
from adamss_core.training.base_model import Source, load_pretrained
from adamss_core.training.batches import Collate, Encoded, Inputs
from adamss_core.training.data import Data, Rows, describe_split, joined_files, read_column, read_rows, report_left_out
from adamss_core.training.errors import bad_data
from adamss_core.training.request import Reporter, RunRequest, Values
from adamss_core.training.scores import Times
from adamss_core.training.selection import Selection, select

Predictions = dict[str, Tensor]
Scorer = Callable[[Times], Values]


class Task(ABC):
    """One kind of job. The methods are in the order in which a run calls them.

    A limit of this interface. Rows are split into examples before they are encoded (`split_rows`), and each example is
    evaluated by itself: a task that cuts a long text into overlapping stretches of tokens and joins their answers
    (extractive question answering with a stride) does not fit. `metrics`, computed at each evaluation, sees the tensors
    of `predictions` and the names of classes; scores of texts (ROUGE, exact match) belong into `evaluation`, which only
    the finished model pays for.

    Attributes:
        record: the torch-free half.
    """

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        self.record: TaskRecord = record_of(spec)

    @property
    def auto_model(self) -> Any:
        """Return transformers' class that loads the model with its head."""
        return getattr(transformers, self.record.auto_model)

    # --- data -----------------------------------------------------------------------------------------------------

    def load_data(self, request: RunRequest, reporter: Reporter) -> Data:
        """Read and split the rows; report those left out as events.

        Raises:
            TrainingError: bad_data, with the file's row or what is missing.
        """
        spec = request.spec
        files = [self.read(path) for path in request.train_files]
        image = next((field for field, kind in self.record.field_kinds.items() if kind == "image"), None)
        rows = joined_files(files, image)
        report_left_out(reporter, "training", rows)
        self._require_rows(rows)
        classes = self.class_names(rows)
        strata = self.strata(rows)
        selection = select(
            spec.dataset,
            spec.training.seed,
            rows.numbers,
            [file.size for file in files],
            strata,
            _groups(request, rows),
            holds_out=request.eval_file is None,
        )
        train, evaluation = rows.take(selection.train), rows.take(selection.evaluation)
        if request.eval_file is not None:
            eval_rows = self.read(request.eval_file)
            evaluation = self.without_unknown(eval_rows, classes, reporter)
            report_left_out(reporter, "evaluation", eval_rows)
        if not len(evaluation):
            raise bad_data(
                "There is no row to evaluate on.",
                hint="Give evaluation data whose labels occur in the training data, or leave dataset.eval empty.",
                where="dataset.eval",
            )
        held_out = describe_split(
            evaluation,
            own_file=request.eval_file is not None,
            seed=spec.training.seed,
            stratified=strata is not None and {strata[i] for i in selection.evaluation} == set(strata),
            group=spec.dataset.group,
        )
        counted = f", {len(classes)} classes" if classes else ""
        reporter.event(
            "data_loaded",
            f"{len(train)} rows to train on{_of_sets(spec, selection)}, {len(evaluation)} held out{counted}.",
            {"train_rows": len(train), "eval_rows": len(evaluation), "classes": classes[:100], "held_out": held_out}
            | ({} if len(files) == 1 else {"train_sets": selection.sets})
            | ({} if selection.groups is None else {"groups": selection.groups}),
        )
        if selection.groups is not None:
            _report_one_sided(reporter, selection, strata)
        test = None if request.test_file is None else self.load_test(request.test_file, classes, reporter)
        unknown = {"eval": evaluation.unknown, "test": "" if test is None else test.unknown}
        return Data(train, evaluation, classes, held_out, test, unknown=unknown)

    def load_test(self, path: Path, classes: list[str], reporter: Reporter) -> Rows:
        """Read the test rows whose labels are known; report the others as events.

        A run reads them before training, so that rows that cannot be used cost no training.

        Raises:
            TrainingError: bad_data, where no row can be used.
        """
        rows = self.read(path)
        report_left_out(reporter, "test", rows)
        known = self.without_unknown(rows, classes, reporter, "test")
        if not len(known):
            raise bad_data(
                "There is no row to test on.",
                hint="Give test data whose labels occur in the training data, or leave dataset.test empty.",
                where="dataset.test",
            )
        return known

    def _require_rows(self, rows: Rows) -> None:
        if not len(rows):
            why = f": {why_left_out(rows.left_out)}" if rows.left_out else ""
            raise bad_data(f"No row has {self.record.needs}{why}.", hint="Check the columns.", where="dataset.train")

    def read(self, path: Path) -> Rows:
        """Return the usable rows of a file."""
        return read_rows(path, self.record.reader(self.spec))

    def class_names(self, rows: Rows) -> list[str]:
        """Return class names in the order of their ids; empty where nothing is classified."""
        return []

    def strata(self, rows: Rows) -> list[str] | None:
        """Return a class for each row, (n,), by which the split is stratified."""
        return None

    def without_unknown(self, rows: Rows, classes: list[str], reporter: Reporter, which: str = "evaluation") -> Rows:
        """Drop rows of the evaluation or test data whose label does not occur in the training data.

        Args:
            which: of the two, for the event.
        """
        return rows

    # --- processor and model ----------------------------------------------------------------------------------------

    @abstractmethod
    def load_processor(self, source: Source) -> Any:
        """Load the tokenizer or image processor of the base model."""

    @abstractmethod
    def read_processor(self, folder: Path) -> Any:
        """Load the tokenizer or image processor of an artifact."""

    def load_base(self, source: Source, processor: Any) -> tuple[PreTrainedModel, list[str]]:
        """Load the base in fp32 with a head, and name the modules that its files hold no weights for."""
        return load_pretrained(self.auto_model, source, self.head_options(source.classes), self.spec.task)

    def head_options(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return the arguments of `from_pretrained` that shape the head."""
        names = dict(enumerate(classes))
        return {"num_labels": len(names), "id2label": names, "label2id": {name: i for i, name in names.items()}}

    def prepare_head(self, model: PreTrainedModel, data: Data) -> None:
        """Give the head a better start than chance, where one is known."""
        return

    def limit(self, processor: Any, config: Any) -> int:
        """Return the tokens per example; 0 where examples have no length."""
        return 0

    # --- examples ---------------------------------------------------------------------------------------------------

    def split_rows(self, rows: Rows, processor: Any) -> Rows:
        """Return an entry for each example, with the number of its row, where a row holds several examples."""
        return rows

    @abstractmethod
    def encode(self, rows: Rows, classes: list[str], processor: Any, limit: int) -> Encoded:
        """Encode rows into examples, each at its row's position.

        Args:
            rows: as `split_rows` returns them.
        """

    def remarks(self, rows: Rows, encoded: Encoded, which: str) -> list[Remark]:
        """Return what encoding did to the rows that their user may not expect, for events and previews.

        Args:
            which: rows, in words, such as "training".
        """
        return []

    @abstractmethod
    def collator(self, processor: Any, device: torch.device) -> Collate:
        """Return the function that turns positions into a batch on the device."""

    def training_collator(
        self, processor: Any, device: torch.device, model: Any, train: Encoded, limit: int, reporter: Reporter
    ) -> Collate:
        """Return the collator for training, where a row of a batch may hold several rows of the data.

        Args:
            model: adapted, not yet on the device.
        """
        return self.collator(processor, device)

    # --- preview ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def example(self, processor: Any, encoded: Encoded, index: int) -> dict[str, Any]:
        """Return one encoded example in plain values, as a preview shows it."""

    # --- loss and metrics -------------------------------------------------------------------------------------------

    @abstractmethod
    def losses(self, outputs: Any, targets: Tensor) -> Tensor:
        """Return the sum of each row's loss terms, (rows,), in fp32."""

    def training_losses(
        self, train: Encoded, classes: list[str], device: torch.device, reporter: Reporter
    ) -> Callable[[Any, Tensor], Tensor]:
        """Return the losses to train on, which take what `losses` takes; they may weight classes or smooth labels."""
        return self.losses

    @abstractmethod
    def predictions(self, outputs: Any, targets: Tensor) -> Predictions:
        """Return the tensors that the metrics need, each (rows, ...); further dimensions may differ between batches."""

    @abstractmethod
    def metrics(self, predictions: Predictions, classes: list[str]) -> Values:
        """Return name -> value over all evaluation rows, beside the loss.

        Args:
            predictions: of all rows in their order; shorter rows are filled up with IGNORED.
        """

    def scorer(self, predictions: Predictions, classes: list[str]) -> Scorer:
        """Return the metrics as a function of how often each row counts, (n,).

        An interval asks for a thousand drawings of the rows: override this where repeating the tensors is slow.
        """
        return lambda times: self.metrics(
            {name: value.repeat_interleave(torch.from_numpy(times), 0) for name, value in predictions.items()}, classes
        )

    @abstractmethod
    def baseline(self, train: Encoded, evaluation: Encoded, classes: list[str]) -> Baseline | None:
        """Answer all evaluation rows without a look at their inputs.

        Returns:
            None where the base model itself can do the task: it is the baseline then.
        """

    # --- afterwards -------------------------------------------------------------------------------------------------

    def evaluation(self, answered: Answered) -> dict[str, Any]:
        """Return what the finished model's report shows beside metrics, as JSON values; called by one process.

        Page and command line show these: classes (`Counts.table`) and what they are (classes_are), confusion and
        confused, residuals (`report_parts`), generation and answers. Artifacts carry all but "answers", which holds
        texts of the data.
        """
        return {}

    def samples(self, model: Any, processor: Any, rows: Rows, limit: int) -> list[dict[str, Any]]:
        """Let a model that writes complete the first evaluation rows, for an event."""
        return []

    @abstractmethod
    def probe(self, processor: Any, rows: Rows, limit: int) -> Inputs:
        """Make the model's inputs for a few rows as a stranger would, with an artifact's own processor."""

    @abstractmethod
    def predict(self, model: Any, processor: Any, inputs: Sequence[Cells], limit: int) -> list[dict[str, Any]]:
        """Return the answers for a few inputs, in plain values, with the keys of the record's `answer_columns`.

        The page draws `scores`, name -> share of one, as bars.

        Args:
            model: in evaluation mode, on any device; its config names the classes.
            inputs: field of the job's `dataset` block -> value, such as {"text": ...}; labels are not needed.
            limit: tokens, as in the artifact's manifest (`max_length`).
        """

    def inputs(self, rows: Rows) -> list[Cells]:
        """Return rows without their answers, as `predict` takes them."""
        return [self.record.split_answer(cells)[0] for cells in rows.cells()]

    def input_facts(self, processor: Any) -> dict[str, Any]:
        """Return what the manifest must say about the inputs, beyond files and length, for whoever makes them."""
        return {}

    def generation_config(self, model: Any, processor: Any, rows: Rows, reporter: Reporter) -> GenerationConfig | None:
        """Return the settings with which a published model writes; None where the task writes nothing.

        Args:
            model: the trained one, with its adapter.
            rows: trained on.
        """
        return None

    @abstractmethod
    def usage(self, manifest: dict[str, Any]) -> Usage:
        """Return the code of a model card."""


def _groups(request: RunRequest, rows: Rows) -> list[str] | None:
    """Return the group of each row, (n,), where the job names a column of them."""
    column = request.spec.dataset.group
    if column is None:
        return None
    values = list(chain.from_iterable(read_column(path, column) for path in request.train_files))
    return [values[number - 1] for number in rows.numbers]


def _of_sets(spec: JobSpec, selection: Selection) -> str:
    sets = spec.dataset.training_sets
    if len(sets) == 1:
        return ""
    shown = ", ".join(f"{rows} of {one.id}" for rows, one in zip(selection.sets, sets, strict=True))
    return f" in an epoch ({shown})"


def _report_one_sided(reporter: Reporter, selection: Selection, strata: Sequence[str] | None) -> None:
    """Report classes that a division by groups leaves on one side only."""
    train, held = ({strata[i] for i in side} if strata else set() for side in (selection.train, selection.evaluation))
    assert selection.groups is not None
    missing = {"held out": sorted(train - held), "trained on": sorted(held - train)}
    said = "; ".join(f"of {', '.join(names[:10])} no row is {side}" for side, names in missing.items() if names)
    reporter.event(
        "held_out_by_group",
        f"{selection.groups[0]} groups are trained on, {selection.groups[1]} are held out{'; ' if said else ''}{said}.",
        {"train_groups": selection.groups[0], "eval_groups": selection.groups[1]}
        | {"not_held_out": missing["held out"][:100], "not_trained_on": missing["trained on"][:100]},
    )


@dataclass(frozen=True)
class Baseline:
    """Answers that a model has to surpass.

    Attributes:
        predicts: in words.
        predictions: of all evaluation rows, as `Task.predictions` returns them, and "losses".
    """

    predicts: str
    predictions: Predictions


@dataclass(frozen=True, kw_only=True)
class Answered:
    """Rows that a finished model has answered.

    Attributes:
        predictions: of all rows, as `Task.predictions` returns them, and "losses".
        model: in evaluation mode, on its device.
        limit: tokens per example.
    """

    rows: Rows
    predictions: Predictions
    classes: list[str]
    model: Any
    processor: Any
    limit: int


@dataclass(frozen=True)
class Remark:
    """A fact about encoded rows.

    Attributes:
        code: type of the event.
        message: for people.
        data: numbers, for programs.
    """

    code: str
    message: str
    data: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The code of a model card.

    Attributes:
        auto_model: name of the class that loads the model.
        processor: name of the class that loads the tokenizer or image processor.
        head: arguments of `from_pretrained` beside the name, as code.
        setup: lines before the model is loaded.
        lines: the use of `model` and `processor`.
        names: what the lines import of transformers beside these two classes.
    """

    auto_model: str
    processor: str
    head: str
    setup: str
    lines: str
    names: tuple[str, ...] = ()
