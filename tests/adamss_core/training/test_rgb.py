"""Images of each mode become RGB by value, whatever is stored beside the visible pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adamss_core.training.rgb import as_rgb
from adamss_core.training.tasks.image_classification import read_image

BLACK, WHITE, BLUE = (0, 0, 0), (255, 255, 255), (32, 64, 96)


def stored(image: Image.Image, **options: Any) -> Image.Image:
    """The image as it is read from a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return Image.open(buffer)


def ramp() -> np.ndarray[Any, np.dtype[np.uint16]]:
    return np.arange(65_536, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bits_of_grey_keep_their_upper_eight(mode: str) -> None:
    image = Image.fromarray(ramp() if mode == "I;16" else ramp().astype(np.int32))
    assert image.mode == mode
    expected = np.repeat((ramp() >> 8).astype(np.uint8)[..., None], 3, axis=2)
    assert np.array_equal(np.asarray(as_rgb(image)), expected)


def test_values_beyond_sixteen_bits_are_clipped() -> None:
    pixels = np.asarray(as_rgb(Image.fromarray(np.array([[-5, 65_535, 70_000]], dtype=np.int32))))
    assert pixels[0, :, 0].tolist() == [0, 255, 255]


def half_clear(mode: str) -> Image.Image:
    """Black on the left, and nothing on the right, where black lies under it."""
    image = Image.new("LA", (4, 2), (0, 255))
    image.paste((0, 0), (2, 0, 4, 2))
    if mode == "P":
        palette = Image.new("P", (4, 2), 1)
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.paste(0, (2, 0, 4, 2))
        return stored(palette, transparency=0)
    if mode in ("L", "RGB", "1"):
        image = Image.new("L", (4, 2), 0)
        image.paste(7, (2, 0, 4, 2))
        return stored(image.convert(mode), transparency=7 if mode == "L" else (7, 7, 7))
    if mode == "I;16":
        grey = np.zeros((2, 4), dtype=np.uint16)
        grey[:, 2:] = 300
        return stored(Image.fromarray(grey), transparency=300)
    return stored(image.convert(mode))


@pytest.mark.parametrize(("background", "colour"), [("white", WHITE), ("black", BLACK), ("#204060", BLUE)])
@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L", "RGB", "I;16"])
def test_transparent_parts_show_the_background(
    mode: str, background: str, colour: tuple[int, int, int], tmp_path: Path
) -> None:
    half_clear(mode).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", background).getpixel((3, 1)) == colour
    image = half_clear(mode)
    assert image.mode == mode
    rgb = as_rgb(image, background)
    assert (rgb.mode, rgb.getpixel((0, 0)), rgb.getpixel((3, 1))) == ("RGB", BLACK, colour)


def test_half_transparent_parts_are_blended_and_opaque_ones_stay() -> None:
    assert as_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 51))).getpixel((0, 0)) == (204, 204, 204)
    noise = Image.effect_noise((16, 16), 90).convert("RGB")
    assert as_rgb(noise.convert("RGBA"), "black").tobytes() == noise.tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "CMYK", "YCbCr"])
def test_other_modes_are_converted_as_before(mode: str) -> None:
    image = Image.effect_noise((16, 16), 90).convert("RGB").convert(mode)
    assert as_rgb(image.copy()).tobytes() == image.convert("RGB").tobytes()


def test_a_camera_held_sideways_is_turned() -> None:
    picture = Image.new("RGB", (4, 2), BLUE)
    picture.paste(WHITE, (0, 0, 2, 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = as_rgb(stored(picture, exif=exif))
    assert (turned.size, turned.getpixel((0, 0)), turned.getpixel((0, 3))) == ((2, 4), WHITE, BLUE)
