"""Storing of uploaded images: each is decoded once, and written upright under its own name."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from service.datasets.image_modes import ImageModes
from service.datasets.rows import MEBIBYTE

if TYPE_CHECKING:
    from PIL.Image import Image

COPIED = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}  # byte for byte, if upright and of one frame
FORMATS = (*COPIED, "BMP", "GIF", "TIFF")
MAX_IMAGE_BYTES = 64 * MEBIBYTE
TOO_LARGE = f"is larger than {MAX_IMAGE_BYTES // MEBIBYTE} MiB; make it smaller"
MAX_PIXELS = 64_000_000
MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_DEPTH = 200, 500, 8  # of a name that is kept
ORIENTATION = 0x0112  # EXIF: how the camera was held
DEEP_GREY = ("I;16B", "I;16L", "I;16N")  # as TIFF has them; PNG knows "I;16"


class UnusableImage(Exception):
    """Fault of an image and its remedy; the message completes "cats/a.png ..."."""


@dataclass(frozen=True)
class ImageStore:
    """A folder of images, and counts of how they hold their colours."""

    folder: Path
    modes: ImageModes = field(default_factory=ImageModes)

    def put(self, content: bytes, path: PurePosixPath | None, number: int) -> str:
        """Decode an image in full and write it upright; return its name in the folder.

        Args:
            path: the user's own, which leads nowhere outside; it is kept where a file system can hold it.
            number: names the image otherwise.

        Raises:
            UnusableImage: the content is not an image, or an unsupported or damaged one.
        """
        if len(content) > MAX_IMAGE_BYTES:
            raise UnusableImage(TOO_LARGE)
        self.folder.mkdir(exist_ok=True)
        image, upright = self._decoded(content)
        return _write(image, upright, content, self.folder, self._stem(path, number))

    def _decoded(self, content: bytes) -> tuple[Image, Any]:
        """Return the image, and a copy that stands upright where a camera was turned."""
        from PIL import Image, ImageOps, UnidentifiedImageError

        Image.MAX_IMAGE_PIXELS = MAX_PIXELS
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image = Image.open(io.BytesIO(content), formats=FORMATS)
                # An animation, or a file of several pages, yields its first one.
                upright = ImageOps.exif_transpose(image)
                image.load()
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise UnusableImage(f"has over {MAX_PIXELS:,} pixels; make it smaller") from error
        except UnidentifiedImageError as error:
            raise UnusableImage("is not a supported image; use PNG, JPEG, WebP, BMP, GIF or TIFF") from error
        except MemoryError:
            raise
        except Exception as error:  # decoders raise anything from OSError to struct.error at a broken file
            raise UnusableImage(f"is damaged or cut off ({str(error)[:100]}); save it again") from error
        if image.mode == "F":
            raise UnusableImage("holds decimal numbers, whose range is unknown; save it with 8 or 16 bits of grey")
        if image.mode in DEEP_GREY:
            deep = (upright or image).convert("I").convert("I;16")
            self.modes.add(deep)
            return deep, deep
        self.modes.add(image)
        return image, upright

    def _stem(self, path: PurePosixPath | None, number: int) -> str:
        """Return the user's name without its suffix where it can be that of a new file, else the number."""
        stem = None if path is None else path.parent / path.stem
        if stem is None or not _fits(stem):
            return f"{number:07d}"
        try:
            (self.folder / stem).parent.mkdir(parents=True, exist_ok=True)
        except OSError:  # a file of the name of a folder
            return f"{number:07d}"
        is_taken = any((self.folder / f"{stem}.{suffix}").exists() for suffix in COPIED.values())
        return f"{stem}-{number:07d}" if is_taken else str(stem)


def _fits(path: PurePosixPath) -> bool:
    sizes = [len(part.encode(errors="replace")) for part in path.parts]
    return 0 < len(sizes) <= MAX_DEPTH and max(sizes) <= MAX_NAME_BYTES and sum(sizes) <= MAX_PATH_BYTES


def _write(image: Image, upright: Any, content: bytes, folder: Path, stem: str) -> str:
    is_upright = image.getexif().get(ORIENTATION, 1) == 1
    if is_upright and image.format in COPIED and getattr(image, "n_frames", 1) == 1:
        name = f"{stem}.{COPIED[image.format]}"
        (folder / name).write_bytes(content)
        return name
    plain = image if upright is None else upright
    if image.format == "JPEG" and plain.mode in ("L", "RGB"):  # as PNG, photographs would grow tenfold
        name, format_, options = f"{stem}.jpg", "JPEG", {"quality": 95}
    else:
        name, format_, options = f"{stem}.png", "PNG", {}
        if plain.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
            plain = plain.convert("RGB")
    with (folder / name).open("wb") as out:
        plain.save(out, format_, exif=b"", **options)
    return name
