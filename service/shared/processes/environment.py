"""What of our environment a process gets that reads models or trains: what its libraries need, and no key of ours.

A list of what is kept, not of what is left out: a secret that nobody thought of stays here.
"""

from __future__ import annotations

from collections.abc import Mapping

_KEPT = {
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
_KEPT_PREFIXES = (
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
    "MKL_",
    "OPENBLAS_",
    "PYTORCH_",
    "TORCH",
    "ACCELERATE_",
    "MALLOC_",
)


def for_libraries(own: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that transformers, torch and the system's libraries read."""
    return {name: value for name, value in own.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
