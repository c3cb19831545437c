"""Show workers and what they run; drain hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from service.fleet import repository
from service.fleet.schemas import DrainIn, DrainOut, RunningOut, WorkerOut, WorkersOut
from service.http.context import Caller
from service.shared.database.tables import Drain, Role, Worker, now
from service.shared.errors import NotFound
from service.shared.resources import Resources


def workers(caller: Caller) -> WorkersOut:
    """List the live workers, with the caller's own jobs by name; an admin sees all jobs."""
    everything = caller.role is Role.ADMIN
    with caller.db.read() as session:
        found = repository.live(session, caller.settings.lease_seconds)
        drains = repository.drains(session)
        queued = repository.queued(session, None if everything else caller.project_id)
        jobs: dict[str | None, list[RunningOut]] = defaultdict(list)
        for worker, project, job, name in repository.running(session):
            shown = everything or project == caller.project_id
            jobs[worker].append(RunningOut(id=job if shown else None, name=name if shown else None))
    hosts = {drain.host for drain in drains}
    return WorkersOut(
        data=[_show(worker, jobs[worker.id], drained=worker.host in hosts) for worker in found],
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


def _show(worker: Worker, jobs: list[RunningOut], *, drained: bool) -> WorkerOut:
    known = Resources.model_validate(worker.resources).model_dump(exclude={"fp16"}) if worker.resources else {}
    own = {name: getattr(worker, name) for name in ("id", "host", "pid", "devices", "spec_version", "started_at")}
    return WorkerOut(**own, **known, seen_at=worker.seen_at, jobs=jobs, drained=drained)
