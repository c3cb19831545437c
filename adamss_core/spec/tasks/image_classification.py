"""Image classification: a class for an image file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from adamss_core.spec.adamss import FieldError
from adamss_core.spec.cells import Cells, Unusable, class_of, image_path
from adamss_core.spec.facts import ModelFacts
from adamss_core.spec.labels import as_text
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.spec_model import Column
from adamss_core.spec.suggestion import Columns, Suggestion
from adamss_core.spec.tasks.answer import AnswerColumn
from adamss_core.spec.tasks.base import IMAGE_PROCESSOR, FieldKind, TaskRecord
from adamss_core.spec.tasks.classes import (
    CLASS_TRAINING,
    no_classes,
    one_class,
    too_many_classes,
    unknown_weighted_class,
    unrepeated_classes,
)
from adamss_core.spec.tasks.columns import LabelColumn
from adamss_core.spec.tasks.metrics import ACCURACY, LOSS, MACRO_F1, MATTHEWS
from adamss_core.spec.tasks.preset import Preset

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

NAME = "image-classification"
Colour = Annotated[str, Field(pattern=r"^(white|black|gray|#[0-9A-Fa-f]{6})$")]
PATCHES = 197  # of a model that does not say: 224 pixels in patches of 16, and the class token


class ImageClassificationColumns(LabelColumn):
    image: Column = "image"
    """Column with the name of the image file."""
    background: Colour = "white"
    """Colour behind images with transparent parts: white, black, gray or #rrggbb."""


class ImageClassification(TaskRecord):
    name = NAME
    title = "Image classification"
    training_half = "adamss_core.training.tasks.image_classification:ImageClassification"
    column_sets = (("image", "label"),)
    field_kinds: ClassVar[Mapping[str, FieldKind]] = {"image": "image", "label": "label"}
    target = "label"
    answers = frozenset({"label"})
    dataset_options = ("background",)
    needs = "both an image and a label"
    is_stratified = True
    metrics = (ACCURACY, MACRO_F1, MATTHEWS, LOSS)
    training_fields = CLASS_TRAINING
    survey_rules = (too_many_classes, no_classes, one_class, unrepeated_classes, unknown_weighted_class)
    answer_field = "label"
    answer_columns = (AnswerColumn("label", "Label"), AnswerColumn("score", "Score", decimals=4))
    preview = "image"
    auto_model = "AutoModelForImageClassification"
    peft_type = None
    processors = (IMAGE_PROCESSOR,)
    has_tokens = False
    presets = (
        Preset(
            name=NAME,
            task=NAME,
            dataset={"image": "image", "label": "label"},
            adamss={"r": 100, "num_subspaces": 10, "subspace_rank": 3},
            training={"learning_rate": 1e-2, "head_learning_rate": 5e-3, "weight_decay": 5e-4, "epochs": 10},
            reason="PEFT's example and the authors' script for ViT: rate 0.01, head 0.005, ten epochs, subspaces of "
            "rank 3 for ViT-Base. Not measured here.",
        ),
    )
    default_base_model = "google/vit-base-patch16-224-in21k"
    starts_pruned = False

    def check(self, spec: JobSpec) -> None:
        if isinstance(spec.dataset.label, list):
            raise FieldError("dataset.label", "lists columns, but an image has one class here: name one column")

    def suggest(self, columns: Columns) -> Suggestion | None:
        """Find image files with a class for each."""
        label = columns.label(("image",)) if columns.has_images else None
        if label is None or columns.by_name[label.column]["type"] == "list":
            return None
        mapping = {"image": "image", "label": label.column}
        reason = f"the files are images, and {label.column!r} has a class of each"
        return Suggestion(self.name, None, mapping, label.is_certain, 1 + label.is_usual, reason)

    def column_problem(self, field: str, column: str, column_type: str) -> SpecProblem | None:
        if field != "label" or column_type != "list":
            return super().column_problem(field, column, column_type)
        return SpecProblem(
            "dataset.label",
            f"Column '{column}' holds lists of classes, but a job on images learns one class for each. Name a column "
            "with one class, or write one of 0 and 1 for each class and train a job on each.",
            "wrong_column_type",
        )

    def read(self, spec: JobSpec, cells: Cells) -> Cells:
        name = as_text(cells["image"])
        if not name:
            raise Unusable("without an image")
        return {"image": name, "label": class_of(cells["label"])}

    def check_files(self, cells: Cells, folder: Path) -> None:
        if (path := image_path(folder, cells["image"])) is None or not path.is_file():
            raise Unusable("whose image file is missing")

    def classes_of(self, cells: Cells) -> tuple[str, ...]:
        return (cells["label"],)

    def tokens_per_example(self, spec: JobSpec, facts: ModelFacts) -> int:
        return facts.image_tokens or PATCHES


RECORDS = (ImageClassification(),)
