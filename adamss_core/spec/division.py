"""Tell when the frozen base of a job may be divided among its devices, and decide it by the estimate."""

from __future__ import annotations

from adamss_core.spec.device_memory import MemoryOfJob
from adamss_core.spec.job import JobSpec


def is_divided(spec: JobSpec, memory: MemoryOfJob, largest: int | None) -> bool:
    """Decide for "auto": the base is divided where it may be and a copy takes more than the largest device has.

    Args:
        largest: bytes of the largest device that the job may get; None if unknown.
    """
    asked = spec.resources
    if asked.shard != "auto" or asked.devices == 1:
        return asked.shard is True
    if largest is None or spec.copied_because is not None:
        return False
    return memory.on(asked.devices).bytes > largest


def enough_devices(spec: JobSpec, memory: MemoryOfJob, largest: int) -> int | None:
    """Return the fewest devices of this size that suffice, with a copy of the base each or a part; None if none do."""
    copies = None if spec.resources.shard is True else memory.fewest(largest)
    divides = spec.resources.shard is not False and spec.copied_because is None
    return memory.fewest(largest, sharded=True) if copies is None and divides else copies
