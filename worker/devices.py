"""What a worker trains on, found without torch."""

from __future__ import annotations

import os
import subprocess


def gpu_indices() -> list[str]:
    """Indices of the NVIDIA GPUs that this process may use; empty without any, or without the driver's tool."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [index.strip() for index in visible.split(",") if index.strip() not in ("", "-1")]
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return listing.stdout.split()


def device_names(gpus: list[str]) -> list[str]:
    """As listed in the `workers` table."""
    return [f"cuda:{index}" for index in gpus] or ["cpu"]
