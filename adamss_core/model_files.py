"""Sizes of a base model's files, and of the images that its processor makes."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from adamss_core.fileio.walk import files_below


def weight_bytes(config: Any) -> int:
    """Return the bytes of one parameter in the model's files; those of fp32 where the config has no type."""
    dtype = getattr(config, "dtype", None)
    return dtype.itemsize if isinstance(dtype, torch.dtype) else torch.float32.itemsize


def saved_bytes(processor: Any) -> int:
    """Return the bytes of the files that a tokenizer or image processor is saved as."""
    with TemporaryDirectory() as name:
        processor.save_pretrained(name)
        return sum(file.stat().st_size for file in files_below(Path(name)))


def image_tokens(config: Any, processor: Any = None) -> int | None:
    """Return the patches of an image, and one for the class token; None if unknown.

    Args:
        processor: the image processor, whose size counts; without one the config's.
    """
    size, patch = _edge(processor) or getattr(config, "image_size", None), getattr(config, "patch_size", None)
    return (size // patch) ** 2 + 1 if isinstance(size, int) and isinstance(patch, int) and patch > 0 else None


def _edge(processor: Any) -> int | None:
    """Return the edge of the square images that a processor makes; None where they are none."""
    crop = getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else None
    size = crop or getattr(processor, "size", None) or {}
    edges = {size.get("height"), size.get("width")} if hasattr(size, "get") else set()
    return edges.pop() if len(edges) == 1 else None
