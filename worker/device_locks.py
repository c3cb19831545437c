"""Take devices of this host by locks, so that one job has each, whichever worker runs it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import sleep
from types import TracebackType

from service.shared.jobs.device_rows import DeviceState
from service.shared.settings import Settings
from worker.devices import FoundDevice, find_devices, free_memory

TRIES, PAUSE = 3, 0.02  # of taking a lock, and seconds between: whoever looks at it holds it for a moment
UNKNOWN_HOLDER = "unknown"  # of a lock whose file names no job


class DeviceLocks:
    """The devices of a worker, and the locks of those that it shares with other workers.

    The system gives a lock back when the process that holds it dies, so a lock says more than any row.

    Args:
        folder: of the lock files, which all workers of the host see.
    """

    def __init__(self, devices: Sequence[FoundDevice], folder: Path) -> None:
        self.devices, self._folder = tuple(devices), folder
        self._free_bytes: dict[str, int | None] = {device.name: device.memory_bytes for device in devices}
        self._own: dict[str, str] = {}  # job by the name of a device that this worker has lent
        self._guard = Lock()

    def measure(self) -> None:
        """Measure the free memory of the devices that nobody holds; that of the others stays as it was before."""
        measured = free_memory(self.devices)
        self._free_bytes |= {device.name: measured[device.name] for device in self.devices if not self.holder(device)}

    def states(self) -> list[DeviceState]:
        """Return each device with its holder and its memory."""
        return [self._state(device, self.holder(device)) for device in self.devices]

    def _state(self, device: FoundDevice, holder: str | None) -> DeviceState:
        free = self._free_bytes[device.name]
        return DeviceState(device.name, device.key, device.kind, device.memory_bytes, free, holder)

    def holder(self, device: FoundDevice) -> str | None:
        """Return the job that holds a device; None if it is free."""
        if (own := self._own.get(device.name)) is not None or device.private:
            return own
        try:
            handle = os.open(self._file(device), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return os.pread(handle, 80, 0).decode(errors="replace").strip() or UNKNOWN_HOLDER
        else:
            return None
        finally:
            os.close(handle)

    def take(self, names: Sequence[str], job_id: str) -> HeldDevices | None:
        """Lock all of these devices for a job; None, with nothing locked, if one is taken."""
        wanted = [device for device in self.devices if device.name in names]
        handles: list[int] = []
        with self._guard:
            if any(device.name in self._own for device in wanted):
                return None
            for device in wanted:
                handle = None if device.private else self._lock(device, job_id)
                if handle is not None:
                    handles.append(handle)
                elif not device.private:
                    for taken in handles:
                        os.close(taken)
                    return None
            self._own |= dict.fromkeys((device.name for device in wanted), job_id)
        return HeldDevices(tuple(wanted), job_id, handles, self)

    def give_back(self, devices: Sequence[FoundDevice]) -> None:
        with self._guard:
            for device in devices:
                self._own.pop(device.name, None)

    def _lock(self, device: FoundDevice, job_id: str) -> int | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._file(device), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        for attempt in range(TRIES):
            if attempt:
                sleep(PAUSE)
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(handle, 0)
                os.pwrite(handle, job_id.encode(), 0)
                return handle
        os.close(handle)
        return None

    def _file(self, device: FoundDevice) -> Path:
        """Return the file of a lock; a key may hold characters that no file's name may."""
        readable = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in device.key)
        return self._folder / f"{readable[:80]}-{hashlib.sha256(device.key.encode()).hexdigest()[:12]}.lock"


def open_devices(settings: Settings, worker_id: str) -> DeviceLocks:
    """Return the devices of a worker as its settings have them."""
    found = find_devices(settings.devices, worker_id, settings.worker_concurrency)
    return DeviceLocks(found, settings.resolved_device_locks)


@dataclass
class HeldDevices:
    """Devices that a job holds until they are closed."""

    devices: tuple[FoundDevice, ...]
    job_id: str
    _handles: list[int]
    _locks: DeviceLocks

    @property
    def keys(self) -> list[str]:
        return [device.key for device in self.devices]

    @property
    def visible(self) -> str | None:
        """Return the devices as CUDA_VISIBLE_DEVICES names them; None on a CPU."""
        return ",".join(device.visible for device in self.devices if device.visible) or None

    def close(self) -> None:
        """Give the devices back."""
        handles, self._handles = self._handles, []
        self._locks.give_back(self.devices)
        for handle in handles:
            os.close(handle)

    def __enter__(self) -> HeldDevices:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
