"""Text length: how many words a text has. Its rows need no label, and a smaller metric is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from adamss_core.spec.cells import Cells, Unusable
from adamss_core.spec.labels import as_text
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.survey import Survey
from adamss_core.spec.tasks.answer import AnswerColumn
from adamss_core.spec.tasks.base import FieldKind, TaskRecord
from adamss_core.spec.tasks.metrics import LOSS, Metric
from adamss_core.spec.tasks.preset import Preset

if TYPE_CHECKING:
    from adamss_core.spec import JobSpec

NAME = "text-length"
MEAN_ERROR = Metric("mean_error", "Mean error in words", "min", is_share=False)


def rows_are_even(record: TaskRecord, spec: JobSpec, survey: Survey) -> SpecProblem | None:
    """Refuse an odd number of rows, as a rule that no other task has."""
    if survey.usable % 2 == 0:
        return None
    return SpecProblem("dataset.train", "The toy task takes rows in pairs. Add one.", "odd_rows")


class TextLength(TaskRecord):
    name = NAME
    title = "Text length"
    training_half = "tests.toy_task.training:TextLength"
    column_sets = (("text",),)
    field_kinds: ClassVar[Mapping[str, FieldKind]] = {"text": "text"}
    answers = frozenset[str]()
    needs = "a text"
    metrics = (MEAN_ERROR, LOSS)
    survey_rules = (rows_are_even,)
    answer_field = "words"
    answer_columns = (AnswerColumn("words", "Number of words", decimals=2),)
    predict_options: ClassVar[Mapping[str, Any]] = {"seed": 0}
    auto_model = "AutoModelForSequenceClassification"
    peft_type = "SEQ_CLS"
    presets = (
        Preset(
            name=NAME,
            task=NAME,
            dataset={"text": "text"},
            adamss={"num_subspaces": 3},
            training={"learning_rate": 0.02, "epochs": 2},
            reason="A toy.",
        ),
    )

    def read(self, spec: JobSpec, cells: Cells) -> Cells:
        text = as_text(cells["text"])
        if not text:
            raise Unusable("without a text")
        return {"text": text}

    def split_answer(self, cells: Cells) -> tuple[Cells, Any]:
        return cells, len(cells["text"].split())

    def outputs(self, classes: int) -> int:
        return 1


RECORDS = (TextLength(),)
