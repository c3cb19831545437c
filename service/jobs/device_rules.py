"""Hold the devices that a job asks for against those of the workers: their number, their memory, and what they gain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from adamss_core.spec import Estimate, JobSpec, SpecProblem
from adamss_core.spec.memory import DeviceKind
from adamss_core.spec.resources_spec import GIGABYTE, ResourcesSpec
from service.http.context import Caller
from service.jobs import repository
from service.jobs.workers import readable_size
from service.shared.resources import Resources

DEVICES, MEMORY = "resources.devices", "resources.memory_gb"
LOWER = "Lower training.batch_size or training.max_length, or set training.gradient_checkpointing."


@dataclass(frozen=True)
class Room:
    """Devices of the workers that a job could take.

    Attributes:
        largest: bytes of the largest device of a live worker; None where none is known.
        measured: whether that is a device's own memory, not the RAM of a worker that does not register devices.
        live: most devices of one live worker that are of the kind and as large as the job asks.
        ever: the same of any worker that has ever registered.
        known: whether any worker has.
    """

    largest: int | None
    measured: bool
    live: int
    ever: int
    known: bool


def find_room(caller: Caller, asked: ResourcesSpec, kind: DeviceKind, workers: Sequence[Resources]) -> Room:
    """Return the devices for a job.

    Args:
        kind: of devices that the job is estimated for.
        workers: live ones; those of earlier versions register their memory alone.
    """
    with caller.db.read() as session:
        live = repository.live_devices(session, caller.settings.lease_seconds)
        ever = [(row.kind, row.devices, row.memory_bytes) for row in repository.known_devices(session)]

    def suits(label: str, memory: int | None) -> bool:
        large = asked.memory_gb is None or memory is None or memory >= asked.memory_gb * GIGABYTE
        return asked.kind in (None, label) and large

    counts: dict[tuple[str, str], int] = defaultdict(int)
    for worker, label, memory in live:
        counts[worker, label] += suits(label, memory)
    sizes = [
        memory
        for _, label, memory in live
        if memory is not None and asked.kind in (None, label) and (label == "cpu") == (kind == "cpu")
    ]
    if not live:
        sizes = [worker.memory_bytes for worker in workers if worker.kind == kind and worker.memory_bytes]
    return Room(
        largest=max(sizes, default=None),
        measured=bool(live),
        live=max(counts.values(), default=0),
        ever=max((count for label, count, memory in ever if suits(label, memory)), default=0),
        known=bool(ever),
    )


def check_devices(caller: Caller, spec: JobSpec, room: Room, needs: Estimate) -> None:
    """Refuse a job that no live worker can run by its memory, or by its devices where the operator refuses those.

    Raises:
        SpecProblem: job_does_not_fit, no_such_devices.
    """
    asked = spec.resources
    if caller.settings.missing_devices == "refuse" and room.ever < asked.devices:
        message = f"No worker has ever had {_described(asked)}; the most was {room.ever}."
        raise SpecProblem(DEVICES, f"{message} Ask for fewer, or for another kind.", "no_such_devices")
    least = needs.least_memory_bytes
    if asked.memory_gb is not None or room.largest is None or not room.measured or (least or 0) <= room.largest:
        return
    assert least is not None
    raise SpecProblem(
        DEVICES,
        f"The job takes at least {readable_size(least)} of each device, also with one row at a time, and the largest "
        f"device of a live worker has {readable_size(room.largest)}. {_remedy(spec, needs.enough_devices)} {MEMORY} "
        "replaces this estimate.",
        "job_does_not_fit",
    )


def with_division(spec: JobSpec, divided: bool) -> JobSpec:
    """Return the spec with the decision about `resources.shard`, which the run follows; one device has nothing to do
    with it."""
    if spec.resources.devices == 1:
        return spec
    resources = spec.resources.model_copy(update={"shard": divided})
    return spec.model_copy(update={"resources": resources})


def device_warnings(spec: JobSpec, room: Room, needs: Estimate) -> list[str]:
    """Warn of devices that no live worker has, of memory that is short, and of devices that gain nothing."""
    return [*_missing(spec.resources, room), *_short_memory(needs, room), *_idle(spec), *_copies(spec)]


def _missing(asked: ResourcesSpec, room: Room) -> list[str]:
    if room.live >= asked.devices or asked == ResourcesSpec():
        return []
    if room.ever >= asked.devices:
        return [f"No live worker has {_described(asked)}: the job waits until one is there again."]
    has = f"the most was {room.ever}" if room.known else "none has registered yet"
    return [
        f"No worker has ever had {_described(asked)} ({has}): the job waits until one registers. Ask for fewer "
        f"({DEVICES}) or start such a worker."
    ]


def _short_memory(needs: Estimate, room: Room) -> list[str]:
    if room.largest is None or needs.memory_bytes <= room.largest:
        return []
    enough = needs.enough_devices
    remedy = LOWER if enough is None else f"{DEVICES} of {enough} or more would suffice. {LOWER}"
    each = "" if needs.devices == 1 else f" on each of its {needs.devices} devices"
    return [
        f"The job needs about {readable_size(needs.memory_bytes)} of memory{each}, but the workers have "
        f"{readable_size(room.largest)} at most. Where memory runs out, rows go through the model fewer at a time. "
        f"{remedy}"
    ]


def _copies(spec: JobSpec) -> list[str]:
    """Say why a base that "auto" might divide is copied."""
    asked, reason = spec.resources, spec.copied_because
    if asked.devices == 1 or asked.shard != "auto" or reason is None:
        return []
    return [f"Each of the {asked.devices} devices holds a copy of the base: {reason}."]


def _idle(spec: JobSpec) -> list[str]:
    """Warn of devices that have no row of a step."""
    training, devices = spec.training, spec.resources.devices
    rows = training.batch_size * training.gradient_accumulation_steps
    if devices <= rows:
        return []
    return [
        f"{DEVICES} is {devices}, but a step has {rows} rows: {devices - rows} of the devices have nothing to do. Ask "
        "for fewer, or raise training.batch_size."
    ]


def _remedy(spec: JobSpec, enough: int | None) -> str:
    if enough is not None:
        return f"{DEVICES} of {enough} or more would do: each holds a part of the base."
    if (reason := spec.copied_because) is not None:
        return f"More devices do not help: {reason}. Leave that out, or take a smaller base model."
    return "No number of such devices suffices. Take a smaller base model, or training.quantization."


def _described(asked: ResourcesSpec) -> str:
    """Format what a job asks for, such as `4 devices of kind h100 with 40 GB each`."""
    kind = "" if asked.kind is None else f" of kind {asked.kind}"
    memory = "" if asked.memory_gb is None else f" with {asked.memory_gb:g} GB each"
    return f"{asked.devices} {'device' if asked.devices == 1 else 'devices'}{kind}{memory}"
