"""Folders of base models that come through the API: filled under a lock, placed when complete, removed.

Whoever fills a partial folder holds its lock until the end, so that nobody takes a living folder for an abandoned one,
on whichever host it is looked at.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from adamss_core.fileio.fsync import sync_folder
from service.shared.storage.home import Home

CONTENT = "model"  # folder of the model's files in a partial folder


class ModelFile(TypedDict):
    """A file of a model, as its manifest lists it."""

    size_bytes: int
    sha256: str


Manifest = Mapping[str, ModelFile]


def digest_of(manifest: Manifest) -> str:
    """Return the sha256 that two models share if their files do."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


@contextmanager
def partial_folder(home: Home, model_id: str) -> Iterator[Path]:
    """Create a folder for an incomplete model, locked against its removal; remove what is left of it at the end."""
    lock = _lock(home, model_id)
    assert lock is not None
    folder = home.added_model_partial(model_id)
    try:
        folder.mkdir()
        yield folder
    finally:
        _remove_partial(home, model_id, lock)


def place_model(home: Home, model_id: str) -> Path:
    """Move the complete model out of its partial folder into its place; return the new folder.

    Its files are on the disk by then, each fsynced by whoever wrote it.
    """
    target = home.added_model(model_id)
    source = home.added_model_partial(model_id) / CONTENT
    sync_folder(source)
    source.rename(target)
    sync_folder(home.added_models)
    return target


def remove_model(home: Home, model_id: str) -> None:
    """Remove a placed model's files; those that cannot be removed are left to the file collector."""
    shutil.rmtree(home.added_model(model_id), ignore_errors=True)


def clear_abandoned(home: Home) -> int:
    """Remove the partial folders that no living process fills; return their number."""
    removed = 0
    for path in home.added_models.glob("*.lock"):  # each is there before its folder
        model_id = path.name.removesuffix(".lock")
        if (lock := _lock(home, model_id)) is not None:
            _remove_partial(home, model_id, lock)
            removed += 1
    return removed


def _lock(home: Home, model_id: str) -> int | None:
    """Take the lock of a partial folder; None where another process holds it."""
    path = home.added_model_lock(model_id)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
            return handle
        os.close(handle)  # its holder has just removed it


def _remove_partial(home: Home, model_id: str, lock: int) -> None:
    shutil.rmtree(home.added_model_partial(model_id), ignore_errors=True)
    home.added_model_lock(model_id).unlink(missing_ok=True)
    os.close(lock)
