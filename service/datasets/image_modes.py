"""Count how a data set's images hold their colours, and remark on those that training converts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.datasets.rows import Notice

if TYPE_CHECKING:
    from PIL.Image import Image

FULL_GREY = 65_535
DARK_GREY = FULL_GREY // 4  # below that, the upper 8 bits have fewer than 64 shades


@dataclass
class ImageModes:
    """Running counts over the images that are kept.

    Attributes:
        counts: Pillow's name of a mode -> images.
        transparent: images with a pixel that is not opaque.
        deep, brightest: images with 16 bits of grey, and the highest value in them.
    """

    counts: Counter[str] = field(default_factory=Counter)
    transparent: int = 0
    deep: int = 0
    brightest: int = 0

    def add(self, image: Image) -> None:
        self.counts[image.mode] += 1
        if image.mode.startswith("I"):
            self.deep += 1
            self.brightest = max(self.brightest, int(image.getextrema()[1]))  # type: ignore[arg-type]
        elif image.has_transparency_data:
            lowest, _ = image.convert("RGBA").getchannel("A").getextrema()
            self.transparent += int(lowest) < 255  # type: ignore[arg-type]

    def notices(self) -> Iterator[Notice]:
        total = self.counts.total()
        if self.transparent:
            yield Notice(
                "transparent_images",
                "image",
                f"{self.transparent:,} of {total:,} images have transparent parts; a job shows its dataset.background "
                "there, which is white by default.",
            )
        if self.deep:
            yield Notice(
                "deep_images",
                "image",
                f"{self.deep:,} of {total:,} images have 16 bits of grey; models see the upper 8.",
            )
        if self.deep and self.brightest < DARK_GREY:
            yield Notice(
                "dark_images",
                "image",
                f"No image with 16 bits of grey has a value above {self.brightest:,} of {FULL_GREY:,}, so models see "
                f"{self.brightest // 256 + 1} shades at most. Scale the values to the whole range and upload again.",
            )
