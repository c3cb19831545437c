"""Tell which waiting jobs the free devices of a worker fit.

One rule in two forms, which must agree: `fits` in SQL, over all waiting jobs, and `choose`, for one job.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.orm import Session

from service.shared.database.tables import Job
from service.shared.jobs.device_rows import DeviceState


@dataclass(frozen=True)
class Needs:
    """What a job needs of the worker that claims it.

    Attributes:
        devices: that it takes at once, all of one kind.
        kind: of them; None for any.
        memory: bytes that must be free on each; None if unknown.
    """

    devices: int = 1
    kind: str | None = None
    memory: int | None = None


ONE_DEVICE = Needs()


def needs_of(session: Session, job_id: str) -> Needs | None:
    """Return the needs of a job; None if it was deleted."""
    found = session.execute(select(Job.devices, Job.device_kind, Job.device_memory).where(Job.id == job_id)).first()
    return None if found is None else Needs(*found)


def choose(free: Sequence[DeviceState], needs: Needs) -> list[DeviceState] | None:
    """Return the devices for a job: of one kind, those with the least memory that is enough; None if none fit."""
    for devices in _by_kind(free).values():
        enough = [device for device in devices if suits(device, needs)]
        if len(enough) >= needs.devices:
            return enough[-needs.devices :]
    return None


def suits(device: DeviceState, needs: Needs) -> bool:
    """Tell whether a device is of the kind that a job asks for, and large enough for it."""
    return needs.kind in (None, device.kind) and (needs.memory is None or needs.memory <= _bytes(device))


def fits(free: Sequence[DeviceState]) -> ColumnElement[bool]:
    """Build the condition on a job that these free devices fit it."""
    terms: list[ColumnElement[bool]] = []
    for kind, devices in _by_kind(free).items():
        of_kind = or_(Job.device_kind.is_(None), Job.device_kind == kind)
        for count, device in enumerate(devices, 1):  # the count-th largest must be large enough
            memory = _bytes(device)
            enough = [] if memory == inf else [or_(Job.device_memory.is_(None), Job.device_memory <= memory)]
            terms.append(and_(Job.devices == count, of_kind, *enough))
    return or_(false(), *terms)


def _by_kind(devices: Sequence[DeviceState]) -> dict[str, list[DeviceState]]:
    """Sort the devices of each kind by their free memory, the largest first."""
    kinds: dict[str, list[DeviceState]] = defaultdict(list)
    for device in sorted(devices, key=_bytes, reverse=True):
        kinds[device.kind].append(device)
    return kinds


def _bytes(device: DeviceState) -> float:
    return inf if device.free_bytes is None else device.free_bytes
