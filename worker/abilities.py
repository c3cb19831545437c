"""Find the memory and abilities of a worker's devices without torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from service.shared.resources import Resources
from worker.devices import FoundDevice
from worker.nvidia import query_gpus
from worker.ram import available_ram

BF16_CAPABILITY = 8.0  # CUDA compute capability from which GPUs have bf16
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}  # as `has_bf16` of adamss_core.training.setup asks torch


def find_resources(devices: Sequence[FoundDevice]) -> Resources:
    """Return the resources of a worker that trains on these devices."""
    quantization = find_spec("bitsandbytes") is not None
    memories = [device.memory_bytes for device in devices if device.memory_bytes is not None]
    smallest = min(memories, default=None) if len(memories) == len(devices) else None
    if any(device.fake for device in devices):
        return Resources(kind="cuda", memory_bytes=smallest, bf16=True, fp16=True, quantization=quantization)
    if all(device.visible is None for device in devices):
        return Resources(kind="cpu", memory_bytes=available_ram(), bf16=_cpu_has_bf16(), quantization=quantization)
    capabilities = compute_capabilities(devices)
    return Resources(
        kind="cuda",
        memory_bytes=smallest,
        bf16=bool(capabilities) and min(capabilities) >= BF16_CAPABILITY,
        fp16=True,
        quantization=quantization,
    )


def compute_capabilities(devices: Sequence[FoundDevice]) -> list[float]:
    """Return the compute capability of each GPU, or of all where slices hide theirs; empty without an answer."""
    whole = [device.visible for device in devices if device.visible and "/" not in device.name]
    found = query_gpus("compute_cap", whole if len(whole) == len(devices) else ())
    with suppress(ValueError):  # such as "[N/A]"
        return [float(capability) for (capability,) in found]
    return []


def _cpu_has_bf16(file: Path = Path("/proc/cpuinfo")) -> bool:
    with suppress(OSError):
        flags = next((line for line in file.read_text().splitlines() if line.startswith("flags")), "")
        return not BF16_FLAGS.isdisjoint(flags.split())
    return False
