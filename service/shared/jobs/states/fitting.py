"""Tell which waiting jobs the free devices of a worker fit.

One rule in two forms, which must agree: `fits` in SQL, over all waiting jobs, and `choose`, for one job.

Building a statement costs several times what executing it does, so those of a claim are built once for each shape of
`Fit`, whose numbers are parameters.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from sqlalchemy import BigInteger, ColumnElement, Integer, String, and_, bindparam, false, or_, select
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


@dataclass(frozen=True)
class Opening:
    """Free devices of one kind, for a job that takes exactly so many of them.

    Attributes:
        memory: bytes that are free on each; None for no bound.
    """

    devices: int
    kind: str
    memory: int | None


def openings(free: Sequence[DeviceState]) -> tuple[Opening, ...]:
    """Return what free devices offer to jobs of each number of devices."""
    return tuple(
        Opening(count, kind, device.free_bytes)  # the count-th largest must be large enough
        for kind, devices in _by_kind(free).items()
        for count, device in enumerate(devices, 1)
    )


@dataclass(frozen=True)
class Fit:
    """The jobs that a worker may take.

    Attributes:
        openings: for all jobs.
        first_openings: for the job that places are kept for, and for higher priorities.
        kept: that job's id and rank; None where no places are kept.
    """

    openings: tuple[Opening, ...]
    first_openings: tuple[Opening, ...] = ()
    kept: tuple[str, int] | None = None

    @property
    def shape(self) -> Fit:
        """Return the fit without its numbers: equal shapes have equal statements."""
        own, first = (tuple(map(_shape, one)) for one in (self.openings, self.first_openings))
        return Fit(own, first, None if self.kept is None else ("", 0))

    @property
    def values(self) -> dict[str, str | int | None]:
        """Return the parameters of `condition`."""
        kept_id, kept_rank = self.kept or (None, None)
        memory = {f"memory_{number}": one.memory for number, one in enumerate(self.openings)}
        first = {f"first_memory_{number}": one.memory for number, one in enumerate(self.first_openings)}
        return {**memory, **first, "kept_id": kept_id, "kept_rank": kept_rank}

    def condition(self) -> ColumnElement[bool]:
        """Build the condition on a job, whose parameters are `values`."""
        own = _matches(self.openings, "memory")
        if self.kept is None:
            return own
        first = or_(Job.id == bindparam("kept_id", type_=String()), Job.rank < bindparam("kept_rank", type_=Integer()))
        return or_(and_(first, _matches(self.first_openings, "first_memory")), own)


def _shape(opening: Opening) -> Opening:
    return replace(opening, memory=None if opening.memory is None else 0)


def fits(free: Sequence[DeviceState]) -> ColumnElement[bool]:
    """Build the condition on a job that these free devices fit it."""
    return _matches(openings(free))


def _matches(offered: Sequence[Opening], name: str | None = None) -> ColumnElement[bool]:
    """Build the condition on a job that one of the openings is for it.

    Args:
        name: of the parameters for memory, which their numbers follow; None builds the bytes in.
    """
    terms: list[ColumnElement[bool]] = [false()]
    for number, one in enumerate(offered):
        of_kind = or_(Job.device_kind.is_(None), Job.device_kind == one.kind)
        bound = one.memory if name is None else bindparam(f"{name}_{number}", type_=BigInteger())
        enough = [] if one.memory is None else [or_(Job.device_memory.is_(None), Job.device_memory <= bound)]
        terms.append(and_(Job.devices == one.devices, of_kind, *enough))
    return or_(*terms)


def _by_kind(devices: Sequence[DeviceState]) -> dict[str, list[DeviceState]]:
    """Sort the devices of each kind by their free memory, the largest first."""
    kinds: dict[str, list[DeviceState]] = defaultdict(list)
    for device in sorted(devices, key=_bytes, reverse=True):
        kinds[device.kind].append(device)
    return kinds


def _bytes(device: DeviceState) -> float:
    return inf if device.free_bytes is None else device.free_bytes
