"""Image classification: one class, several classes, or a number for an image file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from adamss_core.spec.cells import Cells, Unusable, image_path
from adamss_core.spec.facts import ModelFacts
from adamss_core.spec.labels import as_text
from adamss_core.spec.spec_model import Column
from adamss_core.spec.suggestion import Columns
from adamss_core.spec.tasks.base import IMAGE_PROCESSOR, FieldKind
from adamss_core.spec.tasks.columns import LabelColumn
from adamss_core.spec.tasks.labelled import (
    MULTI_LABEL,
    REGRESSION,
    FoundInputs,
    LabelledRecord,
    OneClass,
    OneNumber,
    SeveralClasses,
)
from adamss_core.spec.tasks.preset import Preset

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

NAME = "image-classification"
HALF = "adamss_core.training.tasks.image_classification"
Colour = Annotated[str, Field(pattern=r"^(white|black|gray|#[0-9A-Fa-f]{6})$")]
PATCHES = 197  # of a model that does not say: 224 pixels in patches of 16, and the class token
VIT_ADAMSS: dict[str, Any] = {"budget": "67% of lora:r=1"}
VIT_TRAINING: dict[str, Any] = {"learning_rate": 1e-2, "head_learning_rate": 5e-3, "weight_decay": 5e-4, "epochs": 10}
UNMEASURED = f"Not measured on a task of its own: the values of {NAME}."


class ImageClassificationColumns(LabelColumn):
    image: Column = "image"
    """Column with the name of the image file."""
    background: Colour = "white"
    """Colour behind images with transparent parts: white, black, gray or #rrggbb."""


class ImageRecord(LabelledRecord):
    """The common part of the variants: an image file."""

    name = NAME
    title = "Image classification"
    column_sets = (("image", "label"),)
    field_kinds: ClassVar[Mapping[str, FieldKind]] = {"image": "image", "label": "label"}
    dataset_options = ("label_separator", "background")
    needs = "both an image and a label"
    preview = "image"
    auto_model = "AutoModelForImageClassification"
    peft_type = None
    processors = (IMAGE_PROCESSOR,)
    has_tokens = False
    default_base_model = "google/vit-base-patch16-224-in21k"
    starts_pruned = False

    def read_inputs(self, spec: JobSpec, cells: Cells) -> Cells:
        name = as_text(cells["image"])
        if not name:
            raise Unusable("without an image")
        return {"image": name}

    def find_inputs(self, columns: Columns) -> FoundInputs | None:
        if not columns.has_images:
            return None
        return FoundInputs({"image": "image"}, is_certain=True, usual=1, reason="the files are images")

    def check_files(self, cells: Cells, folder: Path) -> None:
        if (path := image_path(folder, cells["image"])) is None or not path.is_file():
            raise Unusable("whose image file is missing")

    def tokens_per_example(self, spec: JobSpec, facts: ModelFacts) -> int:
        return facts.image_tokens or PATCHES


class ImageClassification(OneClass, ImageRecord):
    """One class for each image."""

    training_half = f"{HALF}:ImageClassification"
    presets = (
        Preset(
            name=NAME,
            task=NAME,
            dataset={"image": "image", "label": "label"},
            adamss=VIT_ADAMSS,
            training=VIT_TRAINING,
            reason="Measured with `make bench-quality` (DINOv2-small on Fashion-MNIST): with two thirds of the "
            "elements of a LoRA of rank 1, 0.9 points ahead of it (-0.3 to +2.3), and 1.7 (+0.5 to +3.0) ahead of that "
            "LoRA on fewer layers, at a rate of 0.01 and 0.005 for the head. Ten epochs are the authors' for ViT.",
        ),
    )


class ImageLabelSets(SeveralClasses, ImageRecord):
    """Any number of classes for each image."""

    training_half = f"{HALF}:ImageLabelSets"
    presets = (
        Preset(
            name="image-multi-label",
            task=NAME,
            problem_type=MULTI_LABEL,
            dataset={"image": "image", "label": "labels", "label_separator": ";"},
            adamss=VIT_ADAMSS,
            training=VIT_TRAINING,
            reason=UNMEASURED,
        ),
    )


class ImageRegression(OneNumber, ImageRecord):
    """A number for each image."""

    training_half = f"{HALF}:ImageRegression"
    presets = (
        Preset(
            name="image-regression",
            task=NAME,
            problem_type=REGRESSION,
            dataset={"image": "image", "label": "score"},
            adamss=VIT_ADAMSS,
            training=VIT_TRAINING,
            reason=UNMEASURED,
        ),
    )


RECORDS = (ImageClassification(), ImageLabelSets(), ImageRegression())
