"""Which files of a base model are kept: what transformers reads, and neither pickles nor code."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import PurePosixPath

WANTED = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
UNWANTED = ("*/*", ".*", "consolidated*")  # other frameworks' weights in subfolders; Mistral's second copy
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
REMEDY = "Save the model with save_pretrained(safe_serialization=True) and leave pickles out: they are never loaded."


def is_wanted(name: str) -> bool:
    """Return whether a file of a model's folder is kept, by its path below the folder."""
    return any(fnmatch(name, wanted) for wanted in WANTED) and not any(fnmatch(name, one) for one in UNWANTED)


def is_pickle(name: str) -> bool:
    """Return whether a file is a pickle by its name."""
    return PurePosixPath(name).suffix.lower() in PICKLES
