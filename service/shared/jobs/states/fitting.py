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

from sqlalchemy import BigInteger, ColumnElement, Integer, String, and_, bindparam, exists, false, or_, select, true
from sqlalchemy.orm import Session, aliased

from service.shared.database.tables import Job, JobStatus
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
Waiting = aliased(Job)
MOST_PROBED = 4  # openings: with many free devices few jobs do not fit, and planning the probes costs more than a look


def needs_of(session: Session, job_id: str) -> Needs | None:
    """Return the needs of a job; None if it was deleted."""
    found = session.execute(select(Job.devices, Job.device_kind, Job.device_memory).where(Job.id == job_id)).first()
    return None if found is None else Needs(*found)


def choose(free: Sequence[DeviceState], needs: Needs) -> list[DeviceState] | None:
    """Return the devices for a job: of one kind, those with the least memory that is enough; None if none fit.

    A job of unknown memory gets the largest kind. A job of one device shares one with others only where nobody leaves
    it one alone.
    """
    kinds = _by_kind([device for device in free if device.is_free]).values()
    enough = [[device for device in devices if suits(device, needs)] for devices in kinds]
    if options := [suiting[-needs.devices :] for suiting in enough if len(suiting) >= needs.devices]:
        return options[0] if needs.memory is None else min(options, key=lambda chosen: _bytes(chosen[0]))
    joined = [device for device in free if not device.is_free and may_join(device, needs)]
    return [min(joined, key=lambda device: device.left_bytes)] if joined else None


def suits(device: DeviceState, needs: Needs) -> bool:
    """Tell whether a device is of the kind that a job asks for, and large enough for it when nobody else has it."""
    return needs.kind in (None, device.kind) and (needs.memory is None or needs.memory <= _bytes(device))


def may_join(device: DeviceState, needs: Needs) -> bool:
    """Tell whether a job may begin beside those that share a device: its memory is known, and left."""
    known = needs.devices == 1 and needs.memory is not None
    return known and needs.kind in (None, device.kind) and (needs.memory or 0) <= device.left_bytes


def share_of(device: DeviceState, needs: Needs) -> int | None:
    """Return the bytes by which a job shares a device with later ones; None where it has its devices alone."""
    return needs.memory if device.most_jobs > 1 and may_join(device, needs) else None


@dataclass(frozen=True)
class Opening:
    """Free devices of one kind, for a job that takes exactly so many of them.

    Attributes:
        memory: bytes that are free on each; None for no bound.
        joins: whether others share it, so that only a job whose memory is known may begin.
    """

    devices: int
    kind: str
    memory: int | None
    joins: bool = False


def openings(free: Sequence[DeviceState]) -> tuple[Opening, ...]:
    """Return what devices offer to jobs of each number of devices."""
    whole = [
        Opening(count, kind, device.free_bytes)  # the count-th largest must be large enough
        for kind, devices in _by_kind([device for device in free if device.is_free]).items()
        for count, device in enumerate(devices, 1)
    ]
    joined: dict[str, int] = {}
    for device in free:
        if not device.is_free:
            joined[device.kind] = max(device.left_bytes, joined.get(device.kind, 0))
    return (*whole, *(Opening(1, kind, left, joins=True) for kind, left in joined.items()))


@dataclass(frozen=True)
class Fit:
    """The jobs that a worker may take.

    Attributes:
        openings: for all jobs.
        first_openings: for the job that places are kept for, and for higher priorities.
        kept: that job's id and rank; None where no places are kept.
        kept_needs: what that job needs.
    """

    openings: tuple[Opening, ...]
    first_openings: tuple[Opening, ...] = ()
    kept: tuple[str, int] | None = None
    kept_needs: Needs | None = None

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

    def devices_for(self, free: Sequence[DeviceState], needs: Needs) -> list[DeviceState] | None:
        """Return the devices for a job that may start: kept ones only where no others fit it."""
        kept = self.kept_needs
        others = free if kept is None else [device for device in free if not suits(device, kept)]
        return choose(others, needs) or choose(free, needs)

    def any_waits(self) -> ColumnElement[bool]:
        """Build the condition that some waiting job may fit, with the same parameters."""
        if len(self.openings) + len(self.first_openings) > MOST_PROBED:
            return true()
        return or_(some_match(self.openings, "memory"), some_match(self.first_openings, "first_memory"))

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


def some_match(offered: Sequence[Opening], name: str) -> ColumnElement[bool]:
    """Build the condition that any waiting job needs what one of the openings offers, by probes of an index.

    Where none does, a claim need not look at the waiting jobs one by one. It is a part of `_matches`: the job may wait
    for another reason.

    Args:
        name: of the parameters for memory, as for `_matches`.
    """
    probes: list[ColumnElement[bool]] = [false()]
    for number, one in enumerate(offered):
        bound = Waiting.device_memory <= bindparam(f"{name}_{number}", type_=BigInteger())
        unknown = [] if one.joins else [Waiting.device_memory.is_(None)]
        memories = [true()] if one.memory is None else [bound, *unknown]
        for kind in (Waiting.device_kind.is_(None), Waiting.device_kind == one.kind):
            for memory in memories:
                own = (Waiting.status == JobStatus.QUEUED, Waiting.devices == one.devices, kind, memory)
                probes.append(exists().where(*own))
    return or_(*probes)


def _matches(offered: Sequence[Opening], name: str | None = None) -> ColumnElement[bool]:
    """Build the condition on a job that one of the openings is for it.

    Args:
        name: of the parameters for memory, which their numbers follow; None builds the bytes in.
    """
    terms: list[ColumnElement[bool]] = [false()]
    for number, one in enumerate(offered):
        of_kind = or_(Job.device_kind.is_(None), Job.device_kind == one.kind)
        bound = one.memory if name is None else bindparam(f"{name}_{number}", type_=BigInteger())
        unknown = [] if one.joins else [Job.device_memory.is_(None)]
        enough = [] if one.memory is None else [or_(*unknown, Job.device_memory <= bound)]
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
