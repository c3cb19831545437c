"""What the process that predicts does with images; answers of real artifacts are tested with the service."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from PIL import Image

from adamss_core.fileio.exchange import write_order
from adamss_core.prediction import MAX_PIXELS, Predictor, PredictOrder, respond, with_image
from adamss_core.training.errors import TrainingError


def sent(image: Image.Image, kind: str = "PNG") -> dict[str, str]:
    content = BytesIO()
    image.save(content, kind)
    return {"image": base64.b64encode(content.getvalue()).decode()}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_images_are_decoded(kind: str) -> None:
    image = with_image(sent(Image.new("RGB", (5, 4), (250, 0, 0)), kind), "inputs[0]")["image"]
    assert image.size == (5, 4)
    assert image.convert("RGB").getpixel((2, 2))[0] > 240


def test_other_inputs_stay_as_they_are() -> None:
    assert with_image({"text": "a"}, "inputs[0]") == {"text": "a"}


def bad_images() -> dict[str, dict[str, str]]:
    half = base64.b64decode(sent(Image.effect_noise((64, 64), 50))["image"])[:600]
    return {
        "no image": {"image": base64.b64encode(b"no image").decode()},
        "cut off": {"image": base64.b64encode(half).decode()},
        "of another format": sent(Image.new("RGB", (4, 4)), "PPM"),
        "too large": sent(Image.new("1", (10_000, MAX_PIXELS // 10_000 + 1))),
    }


@pytest.mark.parametrize("name", list(bad_images()))
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_images_are_named(name: str) -> None:
    with pytest.raises(TrainingError) as caught:
        with_image(bad_images()[name], "inputs[3]")
    assert (caught.value.code, caught.value.where) == ("invalid_image", "inputs[3].image")


def test_whatever_goes_wrong_is_one_line(tmp_path: Path) -> None:
    """Without an order, with one that names no file, and with a model that answers no numbers."""

    class Broken(Predictor):
        def answer(self, order: PredictOrder) -> list[dict[str, Any]]:
            return [{"value": float("nan")}]

    assert json.loads(respond(Predictor(tmp_path), tmp_path, print, Event()))["error"]["code"] == "predict_failed"
    order: dict[str, Any] = {
        "archive": "missing.zip",
        "sha256": "",
        "base": "",
        "revision": None,
        "inputs": [],
        "options": {},
    }
    write_order(tmp_path, order)
    assert json.loads(respond(Predictor(tmp_path), tmp_path, print, Event()))["error"]["code"] == "predict_failed"
    line = respond(Broken(tmp_path), tmp_path, print, Event())
    assert "NaN" not in line
    assert json.loads(line)["error"]["code"] == "predict_failed"
