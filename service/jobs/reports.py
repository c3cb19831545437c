"""Read the reports of a job: metrics, events, subspaces, checkpoints, its log."""

from __future__ import annotations

from collections.abc import Sequence

from service.http.context import Caller
from service.http.paging import Page, split
from service.jobs import metric_reads, repository
from service.jobs.report_schemas import CheckpointOut, EventOut, LogOut, MapOut, MetricOut, SubspacesOut, show_map
from service.jobs.service import get
from service.shared.database.tables import Checkpoint, Event, MetricRow, SubspaceMap
from service.shared.errors import NotFound
from service.shared.jobs.report_queries import after_seq
from service.shared.storage.log_chunks import log_chunks, read_chunks


def metrics(
    caller: Caller, job_id: str, after: int, limit: int, max_points: int | None, name: str | None
) -> Page[MetricOut]:
    """List metrics after a sequence number: a page of them, or with `max_points` all, thinned."""
    with caller.db.read() as session:
        job, files = get(session, caller, job_id), caller.host_files
        if max_points is not None:
            found = metric_reads.curve(session, files, job, after, max_points, name)
        else:
            found = metric_reads.page(session, files, job, after, limit + 1, name)
    rows, more = split(found, limit if max_points is None else max_points)
    data = [_metric(row, name) for row in rows]
    return Page(data=data, has_more=more, next=rows[-1].seq if rows else after)


def parquet_file(caller: Caller, job_id: str) -> bytes:
    """Write all metrics so far to one Parquet file."""
    with caller.db.read() as session:
        return metric_reads.export(session, caller.host_files, get(session, caller, job_id))


def events(caller: Caller, job_id: str, after: int, limit: int) -> Page[EventOut]:
    with caller.db.read() as session:
        get(session, caller, job_id)
        found = after_seq(session, Event, job_id, after, limit + 1)
    rows, more = split(found, limit)
    data = [EventOut.model_validate(row, from_attributes=True) for row in rows]
    return Page(data=data, has_more=more, next=rows[-1].seq if rows else after)


def subspaces(caller: Caller, job_id: str, step: int | None) -> SubspacesOut:
    """Return the subspace map at a step, by default the newest.

    Raises:
        NotFound: the job has no map yet, or none at this step.
    """
    with caller.db.read() as session:
        get(session, caller, job_id)
        steps = list(repository.subspace_steps(session, job_id))
        if not steps:
            raise NotFound("The job has no map of subspaces yet; the first comes when it starts.", code="no_subspaces")
        found = repository.subspace_map(session, job_id, steps[-1] if step is None else step)
    if found is None:
        shown = ", ".join(str(number) for number in steps[-20:])
        raise NotFound(f"There is no map at step {step}. There are maps at {shown}.", code="no_subspaces", param="step")
    return SubspacesOut.model_validate({**found.summary, "seq": found.seq, "step": found.step, "steps": steps})


def maps(caller: Caller, job_id: str, after: int, limit: int) -> Page[MapOut]:
    """List subspace maps after a sequence number, in order."""
    with caller.db.read() as session:
        get(session, caller, job_id)
        found = after_seq(session, SubspaceMap, job_id, after, limit + 1)
    rows, more = split(found, limit)
    return Page(data=[show_map(row) for row in rows], has_more=more, next=rows[-1].seq if rows else after)


def checkpoints(caller: Caller, job_id: str) -> Page[CheckpointOut]:
    with caller.db.read() as session:
        get(session, caller, job_id)
        found: Sequence[Checkpoint] = repository.checkpoints(session, job_id)
    data = [CheckpointOut.model_validate(row, from_attributes=True) for row in found]
    return Page(data=data, has_more=False)


def log(caller: Caller, job_id: str, offset: int | None, limit: int) -> LogOut:
    """Read at most `limit` bytes of the training log from `offset`, by default its end."""
    with caller.db.read() as session:
        get(session, caller, job_id)
        store = caller.host_files.store
        chunks = [] if store is None else log_chunks(session, caller.settings.files, job_id)
    if store is not None and chunks:
        size = sum(chunk.size_bytes for chunk in chunks)
        start = max(0, size - limit) if offset is None else min(offset, size)
        return _piece(read_chunks(store, chunks, start, limit), start)
    path = caller.settings.files.job(job_id).log
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - limit) if offset is None else min(offset, size)
            file.seek(start)
            data = file.read(limit)
    except FileNotFoundError:
        return LogOut(data="", offset=0, next=0)
    return _piece(data, start)


def _piece(data: bytes, start: int) -> LogOut:
    data = _whole_characters(data)
    return LogOut(data=data.decode(errors="replace"), offset=start, next=start + len(data))


def _metric(row: MetricRow, name: str | None) -> MetricOut:
    values = row.values if name is None else {name: row.values.get(name)}
    return MetricOut.model_validate(
        {"seq": row.seq, "kind": row.kind, "step": row.step, "epoch": row.epoch, "time": row.time, "values": values}
    )


def _whole_characters(data: bytes) -> bytes:
    """Remove a UTF-8 character that is cut off at the end; the next read returns all of it."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return data
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data if back >= length else data[:-back]
    return data
