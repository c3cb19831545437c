"""The record of a task: everything that the rest of the program asks of a task without torch.

A task is two files: its record in this folder, and its training half in `adamss_core/training/tasks/`, which the record
names. Where a task comes in variants (`problem_type`), each variant is a record of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from adamss_core.spec.cells import Cells, Reader
from adamss_core.spec.facts import ModelFacts
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.suggestion import Columns, Suggestion
from adamss_core.spec.survey import Survey
from adamss_core.spec.tasks.answer import AnswerColumn
from adamss_core.spec.tasks.metrics import Metric
from adamss_core.spec.tasks.preset import Preset

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

FieldKind = Literal["text", "words", "chat", "tools", "image", "label"]
PreviewKind = Literal["tokens", "image"]
SurveyRule = Callable[["TaskRecord", "JobSpec", Survey], SpecProblem | None]

NESTED = {
    "list": "lists",
    "vector": "lists of numbers",
    "messages": "chats",
}  # column types that hold no single text, and their plural


@dataclass(frozen=True)
class Processor:
    """The part of a base model that turns rows into the model's inputs.

    Attributes:
        fact: the field of ModelFacts that says whether the model has it.
        code, title, files: for the error that it has not.
    """

    fact: str
    code: str
    title: str
    files: str


TOKENIZER = Processor("has_tokenizer", "missing_tokenizer", "tokenizer", "tokenizer.json, tokenizer_config.json")
FAST_TOKENIZER = Processor(
    "has_fast_tokenizer", "missing_tokenizer", "fast tokenizer, which tells words apart", "tokenizer.json"
)
IMAGE_PROCESSOR = Processor(
    "has_image_processor", "missing_image_processor", "image processor", "preprocessor_config.json"
)
CHAT_TEMPLATE = Processor("has_chat_template", "missing_chat_template", "chat template", "chat_template.jinja")


class TaskRecord(ABC):
    """One task, or one variant of it. A row is one example; `adamss_core.training.tasks.base.Task` names the limits.

    Attributes:
        name: the job's `task`; one of the hub's pipeline tags.
        problem_type: the job's `problem_type`; None where the task has no variants.
        title: for people.
        training_half: "module:class" of the subclass of `adamss_core.training.tasks.base.Task`.

        column_sets: alternative sets of fields of the `dataset` block that hold a row; a job reads the first set whose
            fields all name a column.
        optional_fields: field -> fields that may name a column beside it.
        field_kinds: field -> what its cells hold.
        field_titles: field -> its name for people, where that is not the field's own.
        target: field of the label; None where the model is trained on its own input.
        answers: fields that are predicted, so that an input to predict lacks them.
        dataset_options, training_fields: further fields of the blocks `dataset` and `training` that only some tasks
            have.
        needs: names what a row must have, for the error that no row has it.
        is_stratified: whether each row has one class, by which the held-out share is stratified.
        is_profiled: whether the profile of a label column without gaps already counts the classes of all rows.

        metrics: of an evaluation; the first one chooses the best checkpoint by default.
        answer_field: the part of a prediction that can be compared with the label; None where the model writes text,
            which takes too long to repeat for the list of the hardest rows.
        answer_columns: the parts of a prediction that tables show; the main one, which also stands alone, first.
        predict_options: option of a prediction -> its default.
        preview: how an example is shown before training.

        auto_model: name of transformers' class that loads the model with its head.
        decodes_only: whether encoders and encoder-decoders are refused although `auto_model` could load them.
        has_two_stacks: whether an encoder reads the input and a decoder the label, each of at most `max_length` tokens.
        trains_head: whether modules outside of the body are trained in full and saved. A task without them can be done
            by the base model, which is evaluated before the first step.
        peft_type: PEFT's task type; None where PEFT has none.
        processors: parts that the base model must bring along.
        has_tokens: whether examples have a length in tokens.
        trains_in_fp32: whether precision "auto" never takes bf16.

        presets: good values; a job takes from the first one the `training` values that it leaves out.
        default_base_model: of a first spec.
        starts_pruned: whether a first spec prunes half of the subspaces that a small model has.
    """

    name: ClassVar[str]
    problem_type: ClassVar[str | None] = None
    title: ClassVar[str]
    training_half: ClassVar[str]

    column_sets: ClassVar[tuple[tuple[str, ...], ...]]
    optional_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    field_kinds: ClassVar[Mapping[str, FieldKind]]
    field_titles: ClassVar[Mapping[str, str]] = {}
    target: ClassVar[str | None] = None
    answers: ClassVar[frozenset[str]]
    dataset_options: ClassVar[tuple[str, ...]] = ()
    training_fields: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[str]
    is_stratified: ClassVar[bool] = False
    is_profiled: ClassVar[bool] = False

    metrics: ClassVar[tuple[Metric, ...]]
    survey_rules: ClassVar[tuple[SurveyRule, ...]] = ()
    answer_field: ClassVar[str | None]
    answer_columns: ClassVar[tuple[AnswerColumn, ...]]
    predict_options: ClassVar[Mapping[str, Any]] = {}
    preview: ClassVar[PreviewKind] = "tokens"

    auto_model: ClassVar[str]
    decodes_only: ClassVar[bool] = False
    has_two_stacks: ClassVar[bool] = False
    trains_head: ClassVar[bool] = True
    peft_type: ClassVar[str | None]
    processors: ClassVar[tuple[Processor, ...]] = (TOKENIZER,)
    has_tokens: ClassVar[bool] = True
    trains_in_fp32: ClassVar[bool] = False

    presets: ClassVar[tuple[Preset, ...]]
    default_base_model: ClassVar[str] = "minilm"
    starts_pruned: ClassVar[bool] = True

    def for_model(self, is_encoder_decoder: bool) -> TaskRecord:
        """Return the record of the task on encoder-decoders, or on other base models; most tasks have one for both."""
        return self

    # --- the spec ---------------------------------------------------------------------------------------------------

    @property
    def dataset_fields(self) -> tuple[str, ...]:
        return (*self.field_kinds, *self.dataset_options)

    def check(self, spec: JobSpec) -> None:
        """Raise FieldError for fields that do not go together."""
        return

    def with_usual_columns(self, spec: JobSpec, columns: Collection[str]) -> JobSpec:
        """Fill in columns that the data set has under their usual names, where the spec names none itself."""
        return spec

    def metric(self, name: str) -> Metric:
        """Return a metric of the task's evaluations.

        Raises:
            KeyError: the task has no such metric.
        """
        return {metric.name: metric for metric in self.metrics}[name]

    def suggest(self, columns: Columns) -> Suggestion | None:
        """Return how a data set would do for the task, from its profile; None where it would not."""
        return None

    # --- rows -------------------------------------------------------------------------------------------------------

    def columns(self, spec: JobSpec) -> dict[str, str]:
        """Return field -> column of what a row is read from; a field that lists columns stands once for each, with its
        place, such as `prompt[0]`."""
        fields = (*self._required_fields(spec), *self.optional_inputs(spec))
        return {path: name for field in fields for path, name in named_columns(field, getattr(spec.dataset, field))}

    def _required_fields(self, spec: JobSpec) -> tuple[str, ...]:
        return next(
            fields for fields in self.column_sets if all(getattr(spec.dataset, field) is not None for field in fields)
        )

    def optional_inputs(self, spec: JobSpec) -> tuple[str, ...]:
        """Return the optional fields that the job names, beside those that it must name."""
        beside = dict.fromkeys(
            name for field in self._required_fields(spec) for name in self.optional_fields.get(field, ())
        )
        return tuple(name for name in beside if getattr(spec.dataset, name) is not None)

    def kind_of(self, field: str) -> FieldKind:
        """Return what the cells of a field hold; `field` may have a place, as in `columns`."""
        return self.field_kinds[field.partition("[")[0]]

    def input_columns(self, spec: JobSpec) -> list[str]:
        """Return the columns of `columns` that do not hold what is to be predicted."""
        return [name for path, name in self.columns(spec).items() if path.partition("[")[0] != self.target]

    def read_fields(self, spec: JobSpec) -> tuple[str, ...]:
        """Return the names of the values that `read` returns."""
        return tuple(self.columns(spec))

    def reader(self, spec: JobSpec) -> Reader:
        """Return the reader of the job's rows."""
        return Reader(self.columns(spec), lambda cells: self.read(spec, cells), self.read_fields(spec))

    @abstractmethod
    def read(self, spec: JobSpec, cells: Cells) -> Cells:
        """Convert the cells of a row, by field, to the values that training takes.

        Raises:
            Unusable: something is missing in the row.
        """

    def check_files(self, cells: Cells, folder: Path) -> None:
        """Raise Unusable where a file that the row names is missing in the data set's folder."""
        return

    def classes_of(self, cells: Cells) -> tuple[str, ...]:
        """Return the different classes of a row that was read."""
        return ()

    def number_of(self, cells: Cells) -> float | None:
        """Return the number to predict of a row that was read."""
        return None

    def split_answer(self, cells: Cells) -> tuple[Cells, Any]:
        """Split a row that was read into the model's input and the expected answer."""
        inputs = {field: value for field, value in cells.items() if field not in self.answers}
        return inputs, next((cells[field] for field in cells if field in self.answers), None)

    # --- rules of planning ------------------------------------------------------------------------------------------

    def column_problem(self, field: str, column: str, column_type: str) -> SpecProblem | None:
        """Return why a column cannot be what the task takes it for.

        Args:
            column_type: as the data set's profile has it.
        """
        kind = self.kind_of(field)
        if kind == "chat" and column_type not in ("messages", "empty"):
            remedy = 'Name a column with lists of messages, such as [{"role": "user", "content": "..."}].'
            what = f"holds no chats but is of type {column_type}"
        elif kind in ("text", "tools", "image") and column_type in NESTED:
            what, remedy = f"holds {NESTED[column_type]}, not a text in each row", "Name a column with text."
        else:
            return None
        return SpecProblem(f"dataset.{field}", f"Column '{column}' {what}. {remedy}", "wrong_column_type")

    def survey_warnings(self, spec: JobSpec, survey: Survey) -> list[str]:
        """Return what works but may surprise in the training rows."""
        return []

    def model_problem(self, spec: JobSpec, facts: ModelFacts) -> SpecProblem | None:
        """Return why the base model cannot be trained for the task."""
        missing = next((part for part in self.processors if not getattr(facts, part.fact)), None)
        return None if missing is None else missing_part(spec, missing)

    # --- the estimate -----------------------------------------------------------------------------------------------

    def outputs(self, classes: int) -> int:
        """Return how many outputs the head has."""
        return classes

    def tokens_per_example(self, spec: JobSpec, facts: ModelFacts) -> int:
        """Return how many positions of the model an example takes at most."""
        length = spec.training.max_length
        return min(length, facts.max_positions or length)

    def packs(self, spec: JobSpec) -> bool:
        """Return whether several short examples share a row of a batch."""
        return False

    def head_activation_bytes(self, tokens: int, facts: ModelFacts) -> int:
        """Return the memory of a batch's outputs on a GPU, where a batch of `tokens` has more than a few."""
        return 0

    def output_values(self, tokens: int, facts: ModelFacts) -> int:
        """Return how many outputs a batch has, where there are more than a few."""
        return 0

    # --- prediction -------------------------------------------------------------------------------------------------

    def title_of(self, field: str) -> str:
        """Return a field's name for people."""
        return self.field_titles.get(field, field.replace("_", " ").capitalize())

    @property
    def input_sets(self) -> tuple[tuple[str, ...], ...]:
        """Alternative sets of fields of an input to predict, in the order of `column_sets`."""
        return tuple(tuple(field for field in fields if field not in self.answers) for fields in self.column_sets)

    def input_fields(self, spec: JobSpec) -> tuple[str, ...]:
        """Return the fields that an input of the job's model must have."""
        return tuple(field for field in self._required_fields(spec) if field not in self.answers)


def named_columns(field: str, value: str | Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the path and the column of each column that a field names."""
    if isinstance(value, str):
        yield field, value
    else:
        yield from ((f"{field}[{place}]", name) for place, name in enumerate(value))


def missing_part(spec: JobSpec, part: Processor, otherwise: str = "") -> SpecProblem:
    """Return the problem that the base model lacks a part."""
    return SpecProblem(
        "base_model",
        f"'{spec.base_model}' has no {part.title}. Put its files ({part.files}) into the model's folder.{otherwise}",
        part.code,
    )
