"""Rows of the workers' devices: an image of the locks on the hosts, which own the devices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, Update, delete, select, update
from sqlalchemy.orm import Session

from service.shared.database.tables import HostDevice, Json, KnownDevices

# Memory of a GPU that each of several processes takes beside its estimate: the driver's context, and what the allocator
# cannot use.
CONTEXT_BYTES = 1_000_000_000


@dataclass(frozen=True)
class DeviceState:
    """A device of a worker, as it is now.

    Attributes:
        name: among the worker's, such as "cuda:0".
        key: equal for every worker that may use the device.
        kind: a label such as "h100" or "cpu".
        memory_bytes: of the device; None if unknown.
        free_bytes: that jobs may take when nobody holds it; None if unknown.
        job_id: the job that has it alone; None if there is none.
        shares: the jobs that share it, each with the bytes that it is estimated to take.
        most_jobs: that may share it.
    """

    name: str
    key: str
    kind: str
    memory_bytes: int | None
    free_bytes: int | None
    job_id: str | None = None
    shares: tuple[tuple[str, int], ...] = ()
    most_jobs: int = 1

    @property
    def is_free(self) -> bool:
        """Tell whether nobody holds it."""
        return self.job_id is None and not self.shares

    @property
    def is_open(self) -> bool:
        """Tell whether one more job may begin on it, if that is small enough."""
        return self.job_id is None and len(self.shares) < self.most_jobs

    @property
    def holders(self) -> frozenset[str]:
        """Return the jobs that hold it, alone or together."""
        return frozenset(name for name, _ in self.shares) | ({self.job_id} if self.job_id else frozenset())

    @property
    def left_bytes(self) -> int:
        """Return the bytes that one more job may take beside those that share it."""
        if self.free_bytes is None:
            return 0
        beside = 0 if self.kind == "cpu" else CONTEXT_BYTES * (len(self.shares) + 1)
        return self.free_bytes - beside - sum(taken for _, taken in self.shares)

    def without(self, jobs: Collection[str]) -> DeviceState:
        """Return the device as it is when these jobs have left it."""
        if self.job_id not in jobs and not self.shares:
            return self
        shares = tuple(share for share in self.shares if share[0] not in jobs)
        return replace(self, job_id=None if self.job_id in jobs else self.job_id, shares=shares)

    def emptied(self) -> DeviceState:
        """Return the device as it is when all jobs have left it."""
        return self.without(self.holders)


class HasDevices:
    """Base of what has the devices of a worker."""

    devices: Sequence[DeviceState]

    @property
    def free(self) -> list[DeviceState]:
        """Return the devices that one more job may begin on."""
        return [device for device in self.devices if device.is_open]

    @property
    def emptied(self) -> list[DeviceState]:
        """Return the devices as they are when all jobs have left."""
        return [device.emptied() for device in self.devices]


def register(session: Session, worker_id: str, devices: Sequence[DeviceState]) -> None:
    """Write the rows of a worker, which has a row itself, and drop those of devices that it has no more."""
    names = [device.name for device in devices]
    session.flush()  # the worker's own row comes first
    session.execute(delete(HostDevice).where(HostDevice.worker_id == worker_id, HostDevice.name.not_in(names)))
    for place, device in enumerate(devices):
        fields = vars(device) | {"shares": dict(device.shares) or None}
        session.merge(HostDevice(worker_id=worker_id, place=place, **fields))
    for kind in sorted({device.kind for device in devices}):
        _remember(session, kind, [device for device in devices if device.kind == kind])


def hold(session: Session, keys: Iterable[str], job_id: str, share: int | None = None) -> None:
    """Write down that a job holds devices, in the rows of every worker that may use them.

    Args:
        share: bytes that it takes of a device that it shares; None if it has all to itself.
    """
    if not (keys := list(keys)):
        return
    if share is None:
        _set(session, update(HostDevice).where(HostDevice.key.in_(keys)), job_id)
        return
    for row in _locked(session, keys):
        row.shares = (row.shares or {}) | {job_id: share}


def release(session: Session, keys: Iterable[str], job_id: str) -> None:
    """Write down that a job holds devices no more."""
    keys = list(keys)
    _set(session, update(HostDevice).where(HostDevice.key.in_(keys), HostDevice.job_id == job_id), None)
    for row in _locked(session, keys, HostDevice.shares.is_not(None)):
        row.shares = {name: taken for name, taken in (row.shares or {}).items() if name != job_id} or None


def correct(session: Session, worker_id: str, devices: Sequence[DeviceState]) -> None:
    """Write down who holds a worker's devices."""
    known = {device.name: device for device in devices}
    rows = session.scalars(select(HostDevice).where(HostDevice.worker_id == worker_id).order_by(HostDevice.place))
    for row in rows:
        if (device := known.get(row.name)) is not None:
            row.job_id, row.shares = device.job_id, dict(device.shares) or None


def named(session: Session, worker_id: str, keys: Collection[str]) -> list[Json]:
    """List name and kind of devices, as a worker names them."""
    if not keys:
        return []
    own = (HostDevice.worker_id == worker_id, HostDevice.key.in_(keys))
    found = session.execute(select(HostDevice.name, HostDevice.kind).where(*own).order_by(HostDevice.place))
    return [{"name": name, "kind": kind} for name, kind in found]


def state_of(row: HostDevice) -> DeviceState:
    """Return a device as its row says."""
    shares = tuple(sorted((row.shares or {}).items()))
    sizes = (row.memory_bytes, row.free_bytes)
    return DeviceState(row.name, row.key, row.kind, *sizes, row.job_id, shares, row.most_jobs)


def _remember(session: Session, kind: str, devices: Sequence[DeviceState]) -> None:
    """Keep the largest number and size of a kind that any worker has had."""
    known = session.get(KnownDevices, kind) or KnownDevices(kind=kind, devices=0)
    known.devices = max(known.devices, len(devices))
    sizes = [known.memory_bytes, *(device.memory_bytes for device in devices)]
    known.memory_bytes = max((size for size in sizes if size is not None), default=None)
    session.add(known)


def _locked(session: Session, keys: Sequence[str], *conditions: ColumnElement[bool]) -> Sequence[HostDevice]:
    own = select(HostDevice).where(HostDevice.key.in_(keys), *conditions)
    ordered = own.order_by(HostDevice.worker_id, HostDevice.place).with_for_update()
    return session.scalars(ordered.execution_options(populate_existing=True)).all()


def _set(session: Session, statement: Update, job_id: str | None) -> None:
    session.execute(statement.values(job_id=job_id).execution_options(synchronize_session=False))
