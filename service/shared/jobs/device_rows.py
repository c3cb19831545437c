"""Rows of the workers' devices: an image of the locks on the hosts, which own the devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Update, delete, select, update
from sqlalchemy.orm import Session

from service.shared.database.tables import HostDevice, Json, KnownDevices


@dataclass(frozen=True)
class DeviceState:
    """A device of a worker, as it is now.

    Attributes:
        name: among the worker's, such as "cuda:0".
        key: equal for every worker that may use the device.
        kind: a label such as "h100" or "cpu".
        memory_bytes: of the device; None if unknown.
        free_bytes: that jobs may take; None if unknown.
        job_id: the job that holds its lock; None if it is free.
    """

    name: str
    key: str
    kind: str
    memory_bytes: int | None
    free_bytes: int | None
    job_id: str | None = None


def register(session: Session, worker_id: str, devices: Sequence[DeviceState]) -> None:
    """Write the rows of a worker, which has a row itself, and drop those of devices that it has no more."""
    names = [device.name for device in devices]
    session.flush()  # the worker's own row comes first
    session.execute(delete(HostDevice).where(HostDevice.worker_id == worker_id, HostDevice.name.not_in(names)))
    for place, device in enumerate(devices):
        session.merge(HostDevice(worker_id=worker_id, place=place, **vars(device)))
    for kind in sorted({device.kind for device in devices}):
        _remember(session, kind, [device for device in devices if device.kind == kind])


def hold(session: Session, keys: Iterable[str], job_id: str) -> None:
    """Write down that a job holds devices, in the rows of every worker that may use them."""
    if keys := list(keys):
        _set(session, update(HostDevice).where(HostDevice.key.in_(keys)), job_id)


def release(session: Session, keys: Iterable[str], job_id: str) -> None:
    """Write down that a job holds devices no more."""
    _set(session, update(HostDevice).where(HostDevice.key.in_(keys), HostDevice.job_id == job_id), None)


def correct(session: Session, worker_id: str, holders: Mapping[str, str | None]) -> None:
    """Write down who holds a worker's devices.

    Args:
        holders: job or None, by the device's name.
    """
    rows = session.scalars(select(HostDevice).where(HostDevice.worker_id == worker_id).order_by(HostDevice.place))
    for row in rows:
        row.job_id = holders.get(row.name, row.job_id)


def held_by(session: Session, worker_id: str, job_id: str) -> list[Json]:
    """List name and kind of the devices that a job holds, as its worker names them."""
    own = (HostDevice.worker_id == worker_id, HostDevice.job_id == job_id)
    found = session.scalars(select(HostDevice).where(*own).order_by(HostDevice.place))
    return [{"name": device.name, "kind": device.kind} for device in found]


def _remember(session: Session, kind: str, devices: Sequence[DeviceState]) -> None:
    """Keep the largest number and size of a kind that any worker has had."""
    known = session.get(KnownDevices, kind) or KnownDevices(kind=kind, devices=0)
    known.devices = max(known.devices, len(devices))
    sizes = [known.memory_bytes, *(device.memory_bytes for device in devices)]
    known.memory_bytes = max((size for size in sizes if size is not None), default=None)
    session.add(known)


def _set(session: Session, statement: Update, job_id: str | None) -> None:
    session.execute(statement.values(job_id=job_id).execution_options(synchronize_session=False))
