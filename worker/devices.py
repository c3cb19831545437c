"""Find the devices of a worker without torch, and share them among jobs."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path


def gpu_indices() -> list[str]:
    """Return the indices of the NVIDIA GPUs that this process may use; empty without GPUs or without `nvidia-smi`."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [index.strip() for index in visible.split(",") if index.strip() not in ("", "-1")]
    return [index for (index,) in query_gpus("index")]


def query_gpus(fields: str, gpus: Sequence[str] = ()) -> list[list[str]]:
    """Return the named fields of the given GPUs, or of all, without units; empty where `nvidia-smi` does not answer."""
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    chosen = ["-i", ",".join(gpus)] if gpus else []
    try:
        listing = subprocess.run([*query, *chosen], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[value.strip() for value in line.split(",")] for line in listing.splitlines() if line.strip()]


def device_names(gpus: list[str]) -> list[str]:
    """Return the device names for the `workers` table."""
    return [f"cuda:{index}" for index in gpus] or ["cpu"]


class Gpus:
    """Lend each running job a GPU, across all worker processes of this machine that share a home folder.

    Args:
        indices: of the GPUs that this worker may use.
        folder: of the lock files; the system releases the locks of a worker that dies.
    """

    def __init__(self, indices: Sequence[str], folder: Path) -> None:
        self._indices, self._folder = list(indices), folder
        self._shared = cycle(self._indices)

    @contextmanager
    def one(self) -> Iterator[str | None]:
        """Yield a free GPU's index, or a shared one if all are busy; None leaves a single GPU, or the CPU, to torch."""
        if len(self._indices) < 2:
            yield None
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for index in self._indices:
            handle = os.open(self._folder / f"{socket.gethostname()}-{index}.lock", os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # taken
                os.close(handle)
                continue
            try:
                yield index
            finally:
                os.close(handle)
            return
        yield next(self._shared)
