"""Folder of finished decompositions, one file for each key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DecompositionCache:
    """Cache folder with an observer, who may bring an entry from elsewhere before it is read.

    Attributes:
        folder: of the entries.
        observe: called with the path of each entry before it is read, or computed and written.
    """

    folder: Path
    observe: Callable[[Path], None] | None = None

    def entry(self, key: str) -> Path:
        """Return the path of an entry, after the observer has seen it."""
        path = self.folder / f"{key}.safetensors"
        if self.observe is not None:
            self.observe(path)
        return path

    def __reduce__(self) -> tuple[type[DecompositionCache], tuple[Path]]:
        return type(self), (self.folder,)  # without the observer, which belongs to a process: models stay picklable


CacheFolder = str | Path | DecompositionCache


def as_cache(cache: CacheFolder | None) -> DecompositionCache | None:
    """Return the cache in a folder that is named in any way."""
    if cache is None or isinstance(cache, DecompositionCache):
        return cache
    return DecompositionCache(Path(cache))
