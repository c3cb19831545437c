"""Take devices of this host by locks, so that one job has each, or a few share it, whichever workers run them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType

from service.shared.jobs.device_rows import CONTEXT_BYTES, DeviceState
from service.shared.settings import Settings
from worker.devices import FoundDevice, find_devices, free_memory
from worker.lock_files import LockFiles


class DeviceLocks:
    """The devices of a worker, and the locks of those that it shares with other workers.

    The system gives a lock back when the process that holds it dies, so a lock says more than any row.

    Args:
        folder: of the lock files, which all workers of the host see.
        most_jobs: that may share a device whose memory is known.
    """

    def __init__(self, devices: Sequence[FoundDevice], folder: Path, most_jobs: int = 1) -> None:
        self.devices, self._files, self._most_jobs = tuple(devices), LockFiles(folder), most_jobs
        self._free_bytes: dict[str, int | None] = {device.name: device.memory_bytes for device in devices}
        self._own: dict[str, str] = {}  # job by the name of a device that this worker has lent it alone
        self._shares: dict[str, dict[str, int]] = defaultdict(dict)  # bytes by job, by the name of a private device
        self._guard = Lock()

    def measure(self) -> None:
        """Measure the free memory of the devices that nobody holds; that of the others stays as it was before."""
        measured = free_memory(self.devices)
        free = {state.name for state in self.states() if state.is_free}
        self._free_bytes |= {name: size for name, size in measured.items() if name in free}

    def states(self) -> list[DeviceState]:
        """Return each device with its holders and its memory."""
        return [self._state(device) for device in self.devices]

    def _state(self, device: FoundDevice) -> DeviceState:
        free = self._free_bytes[device.name]
        sizes = (device.memory_bytes, free)
        most = self._most_jobs if free is not None else 1
        holder = self._own.get(device.name)
        if holder is None and not device.private:
            holder = self._files.holder(device.key)
        shares = self._shares[device.name] if device.private else self._files.shares(device.key)
        return DeviceState(device.name, device.key, device.kind, *sizes, holder, tuple(sorted(shares.items())), most)

    def take(self, names: Sequence[str], job_id: str, share: int | None = None) -> HeldDevices | None:
        """Lock all of these devices for a job; None, with nothing locked, if one is taken.

        Args:
            share: bytes of a single device that others may share, and that must be left on it; None for it alone.
        """
        wanted = [device for device in self.devices if device.name in names]
        with self._guard:
            if any(device.name in self._own for device in wanted):
                return None
            handles = self._lock(wanted, job_id) if share is None else self._lock_share(wanted[0], job_id, share)
            if handles is None:
                return None
            if share is None:
                self._own |= dict.fromkeys((device.name for device in wanted), job_id)
        return HeldDevices(tuple(wanted), job_id, handles, self, share)

    def give_back(self, devices: Sequence[FoundDevice], job_id: str) -> None:
        with self._guard:
            for device in devices:
                self._shares[device.name].pop(job_id, None)
                if self._own.get(device.name) == job_id:
                    del self._own[device.name]

    def _lock(self, wanted: Sequence[FoundDevice], job_id: str) -> list[int] | None:
        """Return open locks of all devices that are not private; None if one of the devices is taken."""
        if any(self._shares[device.name] for device in wanted):
            return None
        handles: list[int] = []
        for device in wanted:
            if device.private:
                continue
            handle = self._files.take(device.key, job_id)
            if handle is None:
                for taken in handles:
                    os.close(taken)
                return None
            handles.append(handle)
        return handles

    def _lock_share(self, device: FoundDevice, job_id: str, share: int) -> list[int] | None:
        """Return the open locks of a share of a device; None if it has no place or too little memory left."""

        def fits(shares: dict[str, int]) -> bool:
            free, most = self._free_bytes[device.name], self._most_jobs
            sizes = (device.memory_bytes, free)
            state = DeviceState(device.name, device.key, device.kind, *sizes, None, tuple(shares.items()), most)
            return state.is_open and share <= state.left_bytes

        if not device.private:
            return self._files.take_share(device.key, job_id, share, fits)
        if not fits(self._shares[device.name]):
            return None
        self._shares[device.name][job_id] = share
        return []


def open_devices(settings: Settings, worker_id: str) -> DeviceLocks:
    """Return the devices of a worker as its settings have them."""
    found = find_devices(settings.devices, worker_id, settings.worker_concurrency)
    return DeviceLocks(found, settings.resolved_device_locks, settings.jobs_per_device)


@dataclass
class HeldDevices:
    """Devices that a job holds until they are closed.

    Attributes:
        share: bytes that it takes of a device that others may share; None if it has its devices alone.
    """

    devices: tuple[FoundDevice, ...]
    job_id: str
    _handles: list[int]
    _locks: DeviceLocks
    share: int | None = None

    @property
    def keys(self) -> list[str]:
        return [device.key for device in self.devices]

    @property
    def visible(self) -> str | None:
        """Return the devices as CUDA_VISIBLE_DEVICES names them; None on a CPU."""
        return ",".join(device.visible for device in self.devices if device.visible) or None

    @property
    def memory_share(self) -> float | None:
        """Return the part of a shared GPU's memory that the process may allocate; None for no limit.

        Half of what is kept beside the estimate is for the driver's context, which the allocator does not count.
        """
        memory = self.devices[0].memory_bytes
        if self.share is None or memory is None or self.visible is None:
            return None
        return min(1.0, (self.share + CONTEXT_BYTES // 2) / memory)

    def close(self) -> None:
        """Give the devices back."""
        handles, self._handles = self._handles, []
        self._locks.give_back(self.devices, self.job_id)
        for handle in handles:
            os.close(handle)

    def __enter__(self) -> HeldDevices:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
