"""A class for an image."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor

from adamss_core.spec.cells import Cells, Unusable, image_path
from adamss_core.training.base_model import Source, first_line
from adamss_core.training.batches import Encoded, Inputs
from adamss_core.training.data import Rows
from adamss_core.training.errors import TrainingError, bad_data
from adamss_core.training.rgb import as_rgb
from adamss_core.training.tasks.base import Usage
from adamss_core.training.tasks.classes import ExclusiveClasses, Labelled
from adamss_core.training.tasks.label_sets import LabelSets
from adamss_core.training.tasks.quantities import Quantities


class Images(Labelled):
    """Images are decoded batch by batch, as they are, without augmentation."""

    answer_code: str
    head_code = "num_labels=len(labels), id2label=dict(enumerate(labels))"

    # --- data and processor -----------------------------------------------------------------------------------------

    def read(self, path: Path) -> Rows:
        rows = super().read(path)
        usable, missing = [], Counter[str]()
        for i, cells in enumerate(rows.cells()):
            try:
                self.record.check_files(cells, rows.images or Path())
            except Unusable as reason:
                missing[str(reason)] += 1
            else:
                usable.append(i)
        return replace(rows.take(usable), left_out=rows.left_out + missing) if missing else rows

    def load_processor(self, source: Source) -> Any:
        """Load the image processor; raises TrainingError missing_image_processor."""
        try:
            return AutoImageProcessor.from_pretrained(source.path, backend="pil", **source.options)
        except Exception as error:  # transformers raises anything for a config it cannot use
            raise TrainingError(
                "missing_image_processor",
                f"The base model '{source.name}' has no image processor that can be loaded "
                f"({first_line(error, source)}).",
                hint="Put its preprocessor_config.json into the model's folder.",
                where="base_model",
            ) from error

    def read_processor(self, folder: Path) -> Any:
        return AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True, trust_remote_code=False)

    # --- examples ---------------------------------------------------------------------------------------------------

    def encode(self, rows: Rows, classes: list[str], processor: Any, limit: int) -> Encoded:
        paths = [_path(rows, name) for name in rows["image"]]
        targets = self.encode_labels(rows["label"], classes)
        ones = torch.ones(len(rows), dtype=torch.int64)
        return Encoded(paths, targets, ones, ones)

    def collator(self, processor: Any, device: torch.device) -> Pixels:
        return Pixels(processor, device, self.spec.dataset.background)

    # --- preview ----------------------------------------------------------------------------------------------------

    def example(self, processor: Any, encoded: Encoded, index: int) -> dict[str, Any]:
        inputs, _ = self.collator(processor, torch.device("cpu"))(encoded, [index])
        return {"image": Path(encoded.features[index]).name, "pixels": list(inputs["pixel_values"].shape[1:])}

    # --- afterwards -------------------------------------------------------------------------------------------------

    def probe(self, processor: Any, rows: Rows, limit: int) -> Inputs:
        images = [self._read(_path(rows, name)) for name in rows["image"]]
        return dict(processor(images, return_tensors="pt"))

    def inputs(self, rows: Rows) -> list[Cells]:
        return [cells | {"image": _path(rows, cells["image"])} for cells in super().inputs(rows)]

    @torch.inference_mode()
    def predict(self, model: Any, processor: Any, inputs: Sequence[Cells], limit: int) -> list[dict[str, Any]]:
        """Return the answers as `Task` says; `image` is a path, or an image that is open already."""
        batch = processor([self._read(row["image"]) for row in inputs], return_tensors="pt")
        logits: Tensor = model(**{name: value.to(model.device) for name, value in batch.items()}).logits
        return self.answer(logits.float().cpu(), model.config.id2label)

    def _read(self, image: Path | Image.Image) -> Image.Image:
        background = self.spec.dataset.background
        return as_rgb(image, background) if isinstance(image, Image.Image) else read_image(image, background)

    def usage(self, manifest: dict[str, Any]) -> Usage:
        return Usage(
            auto_model="AutoModelForImageClassification",
            processor="AutoImageProcessor",
            head=self.head_code,
            setup="" if not manifest["result"]["labels"] else f"labels = {manifest['result']['labels']!r}\n",
            lines=(
                f"from PIL import Image, ImageOps\n\n\n{inspect.getsource(as_rgb)}\n\n"
                f'image = as_rgb(Image.open("image.png"), {self.spec.dataset.background!r})\n'
                f'inputs = processor(image, return_tensors="pt")\n{self.answer_code}'
            ),
        )


class ImageClassification(ExclusiveClasses, Images):
    """One class for each image."""

    answer_code = (
        "with torch.no_grad():\n    scores = model(**inputs).logits.softmax(-1)[0]\n"
        "print({model.config.id2label[i]: float(score) for i, score in enumerate(scores)})"
    )


class ImageLabelSets(LabelSets, Images):
    """Any number of classes for each image."""

    answer_code = (
        "with torch.no_grad():\n    scores = model(**inputs).logits.sigmoid()[0]\n"
        "print({model.config.id2label[i]: float(score) for i, score in enumerate(scores)})  # above 0.5: it holds"
    )


class ImageRegression(Quantities, Images):
    """A number for each image."""

    head_code = 'num_labels=1, problem_type="regression"'
    answer_code = "with torch.no_grad():\n    print(float(model(**inputs).logits[0, 0]))"


class Pixels:
    """Decode a batch's images; (rows, channels, height, width) and class ids, (rows,)."""

    def __init__(self, processor: Any, device: torch.device, background: str) -> None:
        self._processor, self._device, self._background = processor, device, background

    def __call__(self, data: Encoded, rows: list[int]) -> tuple[Inputs, Tensor]:
        images = [read_image(data.features[row], self._background) for row in rows]
        batch = self._processor(images, return_tensors="pt")
        return {name: value.to(self._device) for name, value in batch.items()}, data.targets[rows].to(self._device)


def read_image(path: Path, background: str = "white") -> Image.Image:
    """Read an image as RGB; see `as_rgb`.

    Raises:
        TrainingError: bad_data, where the file is not an image.
    """
    try:
        with Image.open(path) as image:
            return as_rgb(image, background)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise bad_data(
            f"The image {path.name} cannot be read.", hint="Upload the data set again without it.", where=path.name
        ) from error


def _path(rows: Rows, name: str) -> Path:
    """Return the path of an image that exists."""
    path = image_path(rows.images or Path(), name)
    assert path is not None, "read() leaves out rows without their file"
    return path
