"""The machine: its device, its versions, and packages that are missing."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

# By the name under which each is imported. The core's method needs METHOD; its training loop TRAINING as well.
REQUIRED = ("torch", "transformers", "peft")
METHOD = ("numpy", "safetensors", "scipy", "sklearn", "threadpoolctl")
TRAINING = ("accelerate", "pydantic", "tokenizers", "xxhash")
QUANTISED = ("bitsandbytes",)
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def missing(packages: tuple[str, ...]) -> list[str]:
    """Names by which pip installs those of the packages that are not there."""
    return [_DISTRIBUTIONS.get(name, name) for name in packages if find_spec(name) is None]


def describe() -> dict[str, Any]:
    """Versions and the device, for the record; no name of the machine."""
    import torch

    facts: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "device": "cpu",
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "device_memory_bytes": properties.total_memory,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    return facts | {_DISTRIBUTIONS.get(name, name): _version(name) for name in REQUIRED + METHOD + TRAINING + QUANTISED}


def _version(name: str) -> str:
    try:
        return version(_DISTRIBUTIONS.get(name, name))
    except PackageNotFoundError:
        return "missing"
