"""Ask the NVIDIA driver's `nvidia-smi`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


def query_gpus(fields: str, gpus: Sequence[str] = ()) -> list[list[str]]:
    """Return the named fields of the given GPUs, or of all, without units; empty where `nvidia-smi` does not answer."""
    chosen = ["-i", ",".join(gpus)] if gpus else []
    listing = run_smi(f"--query-gpu={fields}", "--format=csv,noheader,nounits", *chosen)
    return [[value.strip() for value in line.split(",")] for line in listing if line.strip()]


def run_smi(*arguments: str) -> list[str]:
    """Return the lines that `nvidia-smi` prints; empty where it does not answer."""
    command = ["nvidia-smi", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return []
