"""A process that predicts with a finished job's model: `python -m adamss_core.prediction FOLDER`.

For each byte on its standard input it reads `order.json` in FOLDER and prints one line of JSON: {"answers": [...]} or
{"error": {...}}. The model of the last order stays in memory. The process ends when its input does.

Weights come from a published artifact, whose sha256 the order names; they are safetensors, never pickle.
"""

from __future__ import annotations

import base64
import gc
import json
import logging
import os
import queue
import sys
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from adamss_core.errors import AdamssError
from adamss_core.fileio.exchange import read_order
from adamss_core.published import Loaded, load_published
from adamss_core.training.errors import TrainingError, translated_errors
from adamss_core.training.request import PublishedModel

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOrder:
    """Inputs to predict, and the model to use.

    Attributes:
        archive: zip of a published artifact.
        sha256: of the zip.
        base: folder or hub id of the base model; a merged artifact does not read it.
        revision: of a hub model.
        inputs: field of the job's `dataset` block -> value.
        options: of text generation.
    """

    archive: Path
    sha256: str
    base: str
    revision: str | None
    inputs: list[dict[str, Any]]
    options: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> PredictOrder:
        fields = read_order(folder)
        return cls(**fields | {"archive": Path(fields["archive"])})

    @property
    def published(self) -> PublishedModel:
        return PublishedModel(self.archive, self.sha256)


class Predictor:
    """Predicts for orders, and keeps the model of the last one in memory."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._key: PublishedModel | None = None
        self._loaded: Loaded | None = None

    def answer(self, order: PredictOrder) -> list[dict[str, Any]]:
        """Return one prediction per input.

        Raises:
            TrainingError: the artifact cannot be loaded, or an input cannot be read.
        """
        with translated_errors():
            inputs = [with_image(cells, f"inputs[{index}]") for index, cells in enumerate(order.inputs)]
            loaded = self._load(order)
            with torch.inference_mode():
                return loaded.task.predict(loaded.model, loaded.processor, inputs, loaded.limit, **order.options)

    def _load(self, order: PredictOrder) -> Loaded:
        key = order.published
        if self._loaded is None or self._key != key:
            self._loaded = None  # two models may not fit
            gc.collect()
            self._loaded = load_published(key, order.base, order.revision, self._scratch / "artifact")
            self._key = key
        return self._loaded


def with_image(cells: dict[str, Any], name: str) -> dict[str, Any]:
    """Decode the image of an input, which is transferred as base64.

    Args:
        name: of the input in the request, for errors.

    Raises:
        TrainingError: invalid_image; `where` is the field.
    """
    if "image" not in cells:
        return cells
    from PIL import Image

    where = f"{name}.image"
    try:
        image = Image.open(BytesIO(base64.b64decode(cells["image"])), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise _bad_image(where, f"has {image.width} x {image.height} pixels")
        image.load()
        image.getexif()  # read when the image is turned upright
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _bad_image(where, "cannot be read as an image") from error
    return cells | {"image": image}


def _bad_image(where: str, problem: str) -> TrainingError:
    hint = f"Send a file of {', '.join(FORMATS)} with at most {MAX_PIXELS // 1_000_000} million pixels."
    return TrainingError("invalid_image", f"{where} {problem}.", hint=hint, where=where)


def respond(predictor: Predictor, scratch: Path) -> str:
    """Return one line of the protocol: predictions or the error; the process survives any failure."""
    begin = time.perf_counter()
    try:
        answers = predictor.answer(PredictOrder.read(scratch))
        seconds = round(time.perf_counter() - begin, 4)
        return json.dumps({"answers": answers, "seconds": seconds}, allow_nan=False)
    except AdamssError as error:
        logger.warning("%s: %s", error.code, error.message)
        problem = {"code": error.code, "message": error.message, "hint": error.hint, "where": error.where}
    except Exception as error:  # a bug here or in a library, or a model whose outputs are not finite
        logger.exception("the prediction failed")
        message = f"The prediction broke off with an unexpected {type(error).__name__}; predict.log says more."
        problem = {"code": "predict_failed", "message": message, "hint": "", "where": None}
    return json.dumps({"error": problem})


def _follow(lines: queue.SimpleQueue[bytes]) -> None:
    """Read the parent's requests while the model works, and exit as soon as the parent has died."""
    while line := os.read(0, 1):
        lines.put(line)
    os._exit(0)


def main() -> int:
    scratch = Path(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of libraries must not be taken for a prediction
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    Thread(target=_follow, args=(requests,), name="parent", daemon=True).start()
    predictor = Predictor(scratch)
    while True:
        requests.get()
        replies.write(f"{respond(predictor, scratch)}\n")
        replies.flush()


if __name__ == "__main__":
    sys.exit(main())
