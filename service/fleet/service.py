"""Show workers and what they run; drain hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from service.fleet import repository
from service.fleet.schemas import DeviceOut, DrainIn, DrainOut, RunningOut, WorkerOut, WorkersOut
from service.http.context import Caller
from service.shared.database.tables import Drain, HostDevice, Role, Worker, now
from service.shared.errors import NotFound
from service.shared.jobs.device_rows import state_of
from service.shared.resources import Resources


def workers(caller: Caller) -> WorkersOut:
    """List the live workers, with the caller's own jobs by name; an admin sees all jobs."""
    everything = caller.role is Role.ADMIN
    with caller.db.read() as session:
        found = repository.live(session, caller.settings.lease_seconds)
        drains = repository.drains(session)
        queued = repository.queued(session, None if everything else caller.project_id)
        running = repository.running(session)
        devices: dict[str, list[HostDevice]] = defaultdict(list)
        for device in repository.devices(session, [worker.id for worker in found]):
            devices[device.worker_id].append(device)
    jobs: dict[str | None, dict[str, RunningOut]] = defaultdict(dict)
    for worker_id, project, job, name in running:
        shown = everything or project == caller.project_id
        jobs[worker_id][job] = RunningOut(id=job if shown else None, name=name if shown else None)
    known = {job: one for own in jobs.values() for job, one in own.items()}
    hosts = {drain.host for drain in drains}
    return WorkersOut(
        data=[_show(one, jobs[one.id], _devices(one, devices[one.id], known), one.host in hosts) for one in found],
        drained=_drained(drains),
        queued=queued,
    )


def drain(caller: Caller, wanted: DrainIn) -> WorkersOut:
    """Let a host start nothing new from now on, also after its workers are started again.

    Raises:
        NotFound: no worker was on that host within a day.
    """
    with caller.db.write() as session:
        if not repository.has_worker(session, wanted.host):
            raise NotFound(
                f"No worker was on the host {wanted.host} within a day. GET /workers names the hosts.",
                code="host_not_found",
                param="host",
            )
        session.merge(Drain(host=wanted.host, move=wanted.move, since=now()))
    return workers(caller)


def undrain(caller: Caller, host: str) -> WorkersOut:
    """Let a host work again.

    Raises:
        NotFound: the host is not drained.
    """
    with caller.db.write() as session:
        row = session.get(Drain, host)
        if row is None:
            raise NotFound(f"The host {host} is not drained.", code="host_not_drained", param="host")
        session.delete(row)
    return workers(caller)


def _drained(drains: Sequence[Drain]) -> list[DrainOut]:
    return [DrainOut(host=drain.host, move=drain.move, since=drain.since) for drain in drains]


def _devices(worker: Worker, rows: Sequence[HostDevice], jobs: Mapping[str, RunningOut]) -> list[DeviceOut]:
    """Show the devices of a worker; one of an older version has only named them."""
    if not rows:
        return [DeviceOut(name=name) for name in worker.devices]
    nameless = RunningOut(id=None, name=None)  # a job that has just ended
    shown = []
    for row in rows:
        state = state_of(row)
        holder = None if state.job_id is None else jobs.get(state.job_id, nameless)
        sharing = [jobs.get(name, nameless) for name, _ in state.shares]
        left = state.left_bytes if sharing else None
        own = {name: getattr(row, name) for name in ("name", "kind", "memory_bytes", "free_bytes", "most_jobs")}
        shown.append(DeviceOut(**own, free=state.is_free, job=holder, jobs=sharing, left_bytes=left))
    return shown


def _show(worker: Worker, jobs: Mapping[str, RunningOut], devices: list[DeviceOut], drained: bool) -> WorkerOut:
    known = Resources.model_validate(worker.resources).model_dump(exclude={"fp16"}) if worker.resources else {}
    own = {name: getattr(worker, name) for name in ("id", "host", "pid", "spec_version", "started_at", "seen_at")}
    slots = known.get("slots")
    left = None if slots is None else max(0, slots - len(jobs))
    if left is not None and any(device.kind is not None for device in devices):
        left = min(left, sum(device.most_jobs - len(device.jobs) for device in devices if device.job is None))
    free = 0 if drained else left
    return WorkerOut(**own, **known, devices=devices, free=free, jobs=list(jobs.values()), drained=drained)
