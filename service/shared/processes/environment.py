"""Environment of processes that read models or train: variables of their libraries, and no key of ours.

An allowlist, not a denylist: a secret that nobody thought of is never passed on. The hub's token goes only to processes
that fetch from the hub and run nothing of what they fetch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

HUB_TOKEN = "HF_TOKEN"
PATHS = "PYTHONPATH"
_ALLOWED = {
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",  # torch names its cache folder after the user
    "LANG",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "XDG_CACHE_HOME",
    "FAILPOINT",
    "SYSTEMROOT",
}
_ALLOWED_PREFIXES = (
    "LC_",
    "HF_",
    "TRANSFORMERS_",
    "TOKENIZERS_",
    "CUDA_",
    "NVIDIA_",
    "HIP_",
    "ROCR_",
    "NCCL_",
    "OMP_",
    "GOMP_",
    "MKL_",
    "OPENBLAS_",
    "PYTORCH_",
    "TORCH",
    "ACCELERATE_",
    "MALLOC_",
)


def for_libraries(own: Mapping[str, str]) -> dict[str, str]:
    """Select the variables that transformers, torch and the system's libraries read."""
    environment = for_hub(own)
    environment.pop(HUB_TOKEN, None)
    return environment


def asks_hub(own: Mapping[str, str]) -> bool:
    """Tell whether the hub may be asked."""
    return own.get("HF_HUB_OFFLINE", "0").lower() in ("", "0", "no", "false", "off")


def needs_token(own: Mapping[str, str]) -> bool:
    """Tell whether there is a token for the hub, and the hub may be asked."""
    return bool(own.get(HUB_TOKEN)) and asks_hub(own)


def for_hub(own: Mapping[str, str]) -> dict[str, str]:
    """Select the variables of `for_libraries`, and the hub's token."""
    environment = {name: value for name, value in own.items() if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)}
    if PATHS in environment:
        environment[PATHS] = _absolute(environment[PATHS])
    return environment


def for_sandbox(own: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Build an environment without keys and settings, whose temporary files lie in the process's own folder."""
    names = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ")
    passed = {name: value for name, value in for_libraries(own).items() if name in names}
    return passed | {
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def for_store(own: Mapping[str, str]) -> dict[str, str]:
    """Select the variables with address and credentials of a store of files; they are for no environment of a child."""
    return {name: value for name, value in own.items() if name.startswith(("AWS_", "GOOGLE_", "AZURE_", "AZURITE_"))}


def _absolute(paths: str) -> str:
    """Drop relative paths, and empty ones such as `PYTHONPATH=$PYTHONPATH:/more` makes: Python takes them for the
    current folder even with -P, and a child's current folder holds what it was given to read.
    """
    return os.pathsep.join(path for path in paths.split(os.pathsep) if Path(path).is_absolute())
