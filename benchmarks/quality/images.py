"""Fashion-MNIST (MIT), as Debian's package dataset-fashion-mnist installs it or as its authors publish it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

FOLDER = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
SIDE, HEADERS = 28, {"images": 16, "labels": 8}  # bytes before the values
SHOWN = 56  # pixels a side that the model sees: 16 patches
MEAN, SPREAD = 0.2860, 0.3530


def read_images() -> tuple[Tensor, Tensor]:
    """Return the training images (n, 28, 28) as bytes, and their classes (n,)."""
    if not FOLDER.is_dir():
        raise SystemExit(
            f"There is no folder {FOLDER}. Install Debian's package dataset-fashion-mnist, or name the folder of "
            "Fashion-MNIST's .gz files in FASHION_MNIST."
        )
    images, labels = (_values(kind) for kind in ("images", "labels"))
    return images.reshape(-1, SIDE, SIDE), labels.long()


def _values(kind: str) -> Tensor:
    file = next(FOLDER.glob(f"train-{kind}-*ubyte.gz"))
    return torch.frombuffer(bytearray(gzip.decompress(file.read_bytes())), dtype=torch.uint8)[HEADERS[kind] :]


def to_pixels(images: Tensor) -> Tensor:
    """Enlarge and normalise images (n, 28, 28) to (n, 3, 56, 56)."""
    values = ((images.float() / 255 - MEAN) / SPREAD)[:, None]
    return F.interpolate(values, size=(SHOWN, SHOWN), mode="bilinear").expand(-1, 3, -1, -1).contiguous()
