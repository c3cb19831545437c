"""Find the memory and abilities of a worker's devices without torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from service.shared.resources import Resources
from worker.devices import query_gpus

BF16_CAPABILITY = 8.0  # CUDA compute capability from which GPUs have bf16
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}  # as `has_bf16` of adamss_core.training.setup asks torch
MEGABYTE = 2**20


def find_resources(gpus: Sequence[str]) -> Resources:
    """Return the resources of a worker that trains on these GPUs, or on the CPU without any."""
    quantization = find_spec("bitsandbytes") is not None
    if not gpus:
        return Resources(kind="cpu", memory_bytes=available_ram(), bf16=_cpu_has_bf16(), quantization=quantization)
    found = gpu_memory(gpus)
    return Resources(
        kind="cuda",
        memory_bytes=min((memory for memory, _ in found), default=None),
        bf16=bool(found) and all(capability >= BF16_CAPABILITY for _, capability in found),
        fp16=True,
        quantization=quantization,
    )


def gpu_memory(gpus: Sequence[str]) -> list[tuple[int, float]]:
    """Return memory in bytes and compute capability of each GPU; empty where `nvidia-smi` does not answer."""
    found = query_gpus("memory.total,compute_cap", gpus)
    with suppress(ValueError):  # such as "[N/A]"
        return [(int(memory) * MEGABYTE, float(capability)) for memory, capability in found]
    return []


def available_ram(root: Path = Path("/")) -> int | None:
    """Return the bytes of RAM that new processes may take: the system's, or the container's where that is less.

    Args:
        root: of the file systems `proc` and `sys`.
    """
    found = [value for value in (_meminfo(root / "proc/meminfo"), _cgroup(root / "sys/fs/cgroup")) if value is not None]
    return min(found, default=None)


def _meminfo(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _cgroup(folder: Path) -> int | None:
    """Return the memory that a control group of version 2 leaves; None without a limit."""
    with suppress(OSError, ValueError):
        limit, used = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        return max(0, limit - used)
    return None


def _cpu_has_bf16(file: Path = Path("/proc/cpuinfo")) -> bool:
    with suppress(OSError):
        flags = next((line for line in file.read_text().splitlines() if line.startswith("flags")), "")
        return not BF16_FLAGS.isdisjoint(flags.split())
    return False
