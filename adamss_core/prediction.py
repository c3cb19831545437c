"""A process that predicts with a finished job's model: `python -m adamss_core.prediction FOLDER`.

For each newline on its standard input it reads `order.json` in FOLDER and prints a line of JSON: {"answers": [...]} or
{"error": {...}}. Before that, an order to write text prints a line {"piece": {...}} for each piece of it; the byte `c`
cancels the order at work. The last models stay in memory. The process ends when its input does.

Weights come from a published artifact, whose sha256 the order names; they are safetensors, never pickle.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import queue
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from adamss_core.checkpoint_model import CheckpointModel
from adamss_core.errors import AdamssError
from adamss_core.fileio.exchange import read_order
from adamss_core.model_cache import ModelCache
from adamss_core.published import Loaded
from adamss_core.training.errors import TrainingError, translated_errors
from adamss_core.training.request import PublishedModel
from adamss_core.training.tasks.text_generation_stream import Piece, Writing

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000
CANCEL = b"c"
BASE = {"of": "base"}  # marks the pieces that the base model writes
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictOrder:
    """Inputs to predict, and the model to use.

    Attributes:
        base: folder or hub id of the base model; a merged artifact does not read it.
        revision: of a hub model.
        published: zip and sha256 of a published artifact; None for a checkpoint.
        checkpoint: the checkpoint whose model is meant, else None.
        inputs: field of the job's `dataset` block -> value.
        options: of text generation.
        writing: how the only input is continued, piece by piece; None for predictions.
        with_base: whether the base model alone answers, too.
    """

    base: str
    revision: str | None
    published: PublishedModel | None = None
    checkpoint: CheckpointModel | None = None
    inputs: list[dict[str, Any]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    writing: Writing | None = None
    with_base: bool = False

    @classmethod
    def read(cls, folder: Path) -> PredictOrder:
        fields = read_order(folder)
        if (archive := fields.pop("archive", None)) is not None:
            fields["published"] = PublishedModel(Path(archive), fields.pop("sha256"))
        if (checkpoint := fields.get("checkpoint")) is not None:
            paths = {"folder": Path(checkpoint["folder"]), "classes": tuple(checkpoint["classes"])}
            fields["checkpoint"] = CheckpointModel(**checkpoint | paths)
        if (writing := fields.get("writing")) is not None:
            fields["writing"] = Writing(**writing)
        return cls(**fields)

    @property
    def model(self) -> PublishedModel | CheckpointModel:
        """Return the model to use."""
        found = self.published or self.checkpoint
        assert found is not None
        return found


class Predictor:
    """Predicts for orders, and keeps their models in memory."""

    def __init__(self, scratch: Path) -> None:
        self._models = ModelCache(scratch / "artifact")

    def answer(self, order: PredictOrder) -> list[dict[str, Any]]:
        """Return one prediction per input, each with that of the base model as `base` where the order asks for it.

        Raises:
            TrainingError: the model cannot be loaded, or an input cannot be read.
        """
        with translated_errors():
            inputs = [with_image(cells, f"inputs[{index}]") for index, cells in enumerate(order.inputs)]
            answers = _answers(self._models.get(order.model, order.base, order.revision), inputs, order.options)
            if order.with_base:
                with self._models.base_of(order.model, order.base, order.revision) as base:
                    plain = _answers(base, inputs, order.options)
                answers = [answer | {"base": own} for answer, own in zip(answers, plain, strict=True)]
            return answers

    def write(self, order: PredictOrder, report: Callable[[Piece], None], cancelled: Event) -> None:
        """Continue the order's only input, and report its text as it grows; that of the base model after it.

        Raises:
            TrainingError: as `answer`, or the input is too long.
        """
        assert order.writing is not None
        end = time.perf_counter() + (order.writing.seconds or 0)
        with translated_errors():
            loaded = self._models.get(order.model, order.base, order.revision)
            share = 0.5 if order.with_base else 1.0  # of the time that is left
            _write(loaded, order, share * (end - time.perf_counter()), report, cancelled)
            del loaded  # so that the base model may take its place
            if order.with_base and not cancelled.is_set():
                with self._models.base_of(order.model, order.base, order.revision) as base:
                    _write(base, order, end - time.perf_counter(), lambda piece: report(piece | BASE), cancelled)


def _answers(loaded: Loaded, inputs: list[dict[str, Any]], options: dict[str, Any]) -> list[dict[str, Any]]:
    with torch.inference_mode():
        return loaded.task.predict(loaded.model, loaded.processor, inputs, loaded.limit, **options)


def _write(
    loaded: Loaded, order: PredictOrder, seconds: float, report: Callable[[Piece], None], cancelled: Event
) -> None:
    assert order.writing is not None
    writing = replace(order.writing, seconds=max(1.0, seconds))
    with torch.inference_mode():
        loaded.task.write_stream(  # type: ignore[attr-defined] # of text generation, as the service checks
            loaded.model, loaded.processor, order.inputs[0], loaded.limit, writing, report, cancelled.is_set
        )


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


def respond(predictor: Predictor, scratch: Path, send: Callable[[str], None], cancelled: Event) -> str:
    """Return the last line for an order: predictions or the error; the process survives any failure.

    Args:
        send: takes the lines before it.
    """
    begin = time.perf_counter()
    try:
        order = PredictOrder.read(scratch)
        answers: list[dict[str, Any]] = []
        if order.writing is None:
            answers = predictor.answer(order)
        else:
            predictor.write(order, lambda piece: send(json.dumps({"piece": piece}, allow_nan=False)), cancelled)
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


def _follow(orders: queue.SimpleQueue[bytes], cancelled: Event) -> None:
    """Read the parent's bytes while the model works, and exit as soon as the parent has died."""
    while byte := os.read(0, 1):
        if byte == CANCEL:
            cancelled.set()
        else:  # the parent sends no order before the last one is answered
            cancelled.clear()
            orders.put(byte)
    os._exit(0)


def main() -> int:
    scratch = Path(sys.argv[1])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # output of libraries must not be taken for a prediction
    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    cancelled = Event()
    Thread(target=_follow, args=(orders, cancelled), name="parent", daemon=True).start()
    predictor = Predictor(scratch)

    def send(line: str) -> None:
        replies.write(f"{line}\n")
        replies.flush()

    while True:
        orders.get()
        send(respond(predictor, scratch, send, cancelled))


if __name__ == "__main__":
    sys.exit(main())
