"""Query jobs and their reports."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, tuple_
from sqlalchemy.orm import Session, defer

from service.jobs.curve import Row
from service.shared.database.clock import database_now
from service.shared.database.tables import (
    Artifact,
    Checkpoint,
    Dataset,
    Evaluation,
    Event,
    HardestExample,
    HostDevice,
    IdempotencyKey,
    Job,
    JobStatus,
    JobTag,
    Json,
    KnownDevices,
    MetricRow,
    PinnedBaseline,
    SubspaceMap,
    Sweep,
    TokenLengths,
    Worker,
)

CHUNK = 5_000  # numbers in one statement
FETCHED = 20_000  # rows of a curve in one statement
EVALUATED = "eval_"  # begins the names of an evaluation's values; no row of training has such a name
AMONG = 200  # newest succeeded jobs of a project that are searched for alike ones
_COPIED: dict[str, ColumnElement[Any]] = {name: MetricRow.__table__.c[name] for name in ("loss", "grad_norm")}


@dataclass(frozen=True)
class ListedJob:
    """A job of a list, without its spec and plan, which are most of its bytes; of them only what lists show."""

    job: Job
    task: str | None
    problem_type: str | None
    base_model: str | None
    metric: str | None  # by which checkpoints are compared
    evaluates: Json | None
    inspects: Json | None
    is_baseline: bool = False


def find(session: Session, project_id: str, job_id: str, *, lock: bool = False) -> Job | None:
    statement = select(Job).where(Job.id == job_id, Job.project_id == project_id)
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def page(
    session: Session, wanted: Sequence[ColumnElement[bool]], after: tuple[datetime, str] | None, limit: int
) -> Sequence[ListedJob]:
    """List a page of jobs, newest first.

    Args:
        wanted: conditions on the jobs, as `Wanted` builds them.
    """
    paths = ("task",), ("problem_type",), ("base_model",), ("training", "metric_for_best")
    shown = [Job.resolved[("spec", *path)].as_string() for path in paths]
    slim = (defer(Job.spec, raiseload=True), defer(Job.resolved, raiseload=True))
    shown += [Job.resolved[name] for name in ("evaluates", "inspects")]
    shown.append(exists().where(PinnedBaseline.job_id == Job.id))
    statement = select(Job, *shown).options(*slim).where(*wanted)
    if after is not None:
        statement = statement.where(tuple_(Job.created_at, Job.id) < after)
    found = session.execute(statement.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit))
    return [ListedJob(*row) for row in found]


@dataclass(frozen=True)
class Wanted:
    """What a list of jobs is narrowed to; None and empty ones narrow nothing.

    Attributes:
        status: one of these.
        tags: all of these.
        evaluates: id of the job whose model is evaluated.
        sweep: only trials of this sweep; without it no trials are listed.
        dataset: id of a data set that the job trains, evaluates or tests on.
    """

    status: Sequence[JobStatus] = ()
    name: str | None = None
    evaluates: str | None = None
    tags: Sequence[str] = ()
    group: str | None = None
    owner: str | None = None
    sweep: str | None = None
    dataset: str | None = None

    def conditions(self, project_id: str) -> list[ColumnElement[bool]]:
        """Build the conditions on the jobs of a project."""
        wanted: list[ColumnElement[bool]] = [Job.project_id == project_id]
        wanted.append(Job.sweep_id.is_(None) if self.sweep is None else Job.sweep_id == self.sweep)
        if self.status:
            wanted.append(Job.status.in_(self.status))
        same = (
            (Job.name, self.name),
            (Job.evaluates, self.evaluates),
            (Job.group_name, self.group),
            (Job.owner, self.owner),
        )
        wanted += [column == value for column, value in same if value is not None]
        if self.dataset is not None:
            blocks = (Job.resolved[path].as_string() for path in (("spec", "dataset"), ("evaluates", "dataset")))
            wanted.append(or_(*(block.contains(self.dataset, autoescape=True) for block in blocks)))
        for tag in self.tags:
            tagged = select(JobTag.job_id).where(JobTag.project_id == project_id, JobTag.tag == tag)
            wanted.append(Job.id.in_(tagged))
        return wanted


def lock_datasets(session: Session, project_id: str, ids: Sequence[str]) -> set[str]:
    """Lock data sets against deletion until the transaction ends; return the ids that exist."""
    statement = select(Dataset.id).where(
        Dataset.id.in_(ids), Dataset.project_id == project_id, Dataset.deleted_at.is_(None)
    )
    return set(session.scalars(statement.with_for_update(read=True)))


def is_in_live_sweep(session: Session, job: Job) -> bool:
    """Tell whether the job is a trial of a sweep that has not ended."""
    live = select(Sweep.id).where(Sweep.id == job.sweep_id, Sweep.ended_at.is_(None))
    return session.scalar(live) is not None


def find_baseline(session: Session, job: Job) -> str | None:
    """Return the pinned baseline of a job's group, else that of its project."""
    groups = (job.group_name or "", "")
    pinned = select(PinnedBaseline.group_name, PinnedBaseline.job_id).where(
        PinnedBaseline.project_id == job.project_id, PinnedBaseline.group_name.in_(groups)
    )
    found: dict[str, str] = {row.group_name: row.job_id for row in session.execute(pinned)}
    return next((found[group] for group in groups if group in found), None)


def is_baseline(session: Session, job: Job) -> bool:
    """Tell whether the job is the pinned baseline of its group or project."""
    return session.scalar(select(PinnedBaseline.job_id).where(PinnedBaseline.job_id == job.id)) is not None


def evaluation_reports(session: Session, job_id: str) -> list[Json]:
    """List the reports on a finished model: held-out rows first, then test rows."""
    return list(
        session.scalars(select(Evaluation.report).where(Evaluation.job_id == job_id).order_by(Evaluation.place))
    )


def has_artifact(session: Session, job_id: str, name: str) -> bool:
    return session.get(Artifact, (job_id, name)) is not None


def find_idempotency_key(session: Session, project_id: str, key: str) -> IdempotencyKey | None:
    return session.get(IdempotencyKey, (project_id, key))


def metrics_named(session: Session, job_id: str, after: int, name: str, limit: int) -> list[MetricRow]:
    """List rows with a value of this name; searched here, because JSON paths differ between databases."""
    found: list[MetricRow] = []
    statement = select(MetricRow).where(MetricRow.job_id == job_id, MetricRow.seq > after).order_by(MetricRow.seq)
    with session.scalars(statement.execution_options(yield_per=1_000)) as rows:
        for metric in rows:
            if name in metric.values:
                found.append(metric)
                if len(found) == limit:
                    break
    return found


def last_seq(session: Session, job_id: str) -> int:
    """Return the newest sequence number of a job; 0 if it is gone."""
    return session.scalar(select(Job.last_seq).where(Job.id == job_id)) or 0


def has_metric(session: Session, job_id: str, row: Row) -> bool:
    """Tell whether a row is still the one that was read."""
    seq, _, _, attempt, *_ = row
    same = (MetricRow.job_id == job_id, MetricRow.seq == seq, MetricRow.attempt == attempt)
    return session.execute(select(MetricRow.seq).where(*same)).first() is not None


def curve_rows(session: Session, job_id: str, after: int, names: Sequence[str], *, whole: bool) -> Iterator[Row]:
    """Yield the rows after a sequence number, with their numbers of some names, in order.

    Args:
        whole: all rows. Else those that have a number of the first name.
    """
    numbers = [_number(name) for name in names]
    past: list[ColumnElement[bool]] = [MetricRow.job_id == job_id]
    if not whole:
        past.append(numbers[0].is_not(None))
        if names[0].startswith(EVALUATED) and not after:  # by the index of kinds, instead of a scan of all rows
            past.append(MetricRow.kind == "eval")
    columns = (MetricRow.seq, MetricRow.kind, MetricRow.step, MetricRow.attempt)
    statement = select(*columns, *numbers).where(*past).order_by(MetricRow.seq).limit(FETCHED)
    rows: Sequence[Row] = ()
    while not rows or len(rows) == FETCHED:  # in pages: a third of the time of a cursor that is left open
        rows = session.connection().execute(statement.where(MetricRow.seq > after)).all()
        if not rows:
            return
        yield from rows
        after = rows[-1][0]


def metrics_at(session: Session, job_id: str, seqs: Sequence[int]) -> list[MetricRow]:
    """List rows by their sequence numbers, in order."""
    found: list[MetricRow] = []
    for start in range(0, len(seqs), CHUNK):
        chosen = (MetricRow.job_id == job_id, MetricRow.seq.in_(seqs[start : start + CHUNK]))
        found += session.scalars(select(MetricRow).where(*chosen).order_by(MetricRow.seq))
    return found


def _number(name: str) -> ColumnElement[Any]:
    return _COPIED[name] if name in _COPIED else MetricRow.values[name].as_float()


def events_of(session: Session, job_id: str, kinds: Collection[str]) -> Sequence[Event]:
    """List the job's events of some types, in order."""
    statement = select(Event).where(Event.job_id == job_id, Event.type.in_(kinds)).order_by(Event.seq)
    return session.scalars(statement).all()


def subspace_steps(session: Session, job_id: str) -> Sequence[int]:
    return session.scalars(
        select(SubspaceMap.step).where(SubspaceMap.job_id == job_id).order_by(SubspaceMap.step)
    ).all()


def subspace_map(session: Session, job_id: str, step: int) -> SubspaceMap | None:
    return session.get(SubspaceMap, (job_id, step))


def checkpoints(session: Session, job_id: str) -> Sequence[Checkpoint]:
    return session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step)).all()


def remove(session: Session, job_id: str) -> None:
    """Delete a job and all rows that belong to it."""
    reported: tuple[Any, ...] = (MetricRow, SubspaceMap, Event, Checkpoint, HardestExample, Evaluation)
    for table in (*reported, Artifact, IdempotencyKey, JobTag):
        session.execute(delete(table).where(table.job_id == job_id))
    session.execute(delete(Job).where(Job.id == job_id))


def find_lengths(session: Session, key: dict[str, str]) -> Json | None:
    """Find the measured token lengths of a data set, by the primary key."""
    row = session.get(TokenLengths, key)
    return None if row is None else row.lengths


def live_resources(session: Session, within_seconds: float) -> list[Json]:
    """List the resources, as far as registered, of the workers with a heartbeat in the last `within_seconds`."""
    since = database_now(session) - timedelta(seconds=within_seconds)
    found = session.scalars(select(Worker.resources).where(Worker.seen_at >= since))
    return [resources for resources in found if resources is not None]


def largest_device(session: Session, within_seconds: float, kind: str | None) -> int | None:
    """Return the bytes of the largest device, of a kind or of any, of the live workers; None where none is known."""
    since = database_now(session) - timedelta(seconds=within_seconds)
    own = select(func.max(HostDevice.memory_bytes)).join(Worker, Worker.id == HostDevice.worker_id)
    of_kind = () if kind is None else (HostDevice.kind == kind,)
    return session.execute(own.where(Worker.seen_at >= since, *of_kind)).scalar_one()


def live_devices(session: Session, within_seconds: float) -> list[tuple[str, str, int | None]]:
    """List worker, kind and bytes of each device of the live workers."""
    since = database_now(session) - timedelta(seconds=within_seconds)
    columns = select(HostDevice.worker_id, HostDevice.kind, HostDevice.memory_bytes)
    found = session.execute(columns.join(Worker, Worker.id == HostDevice.worker_id).where(Worker.seen_at >= since))
    return [(worker, kind, memory) for worker, kind, memory in found]


def known_devices(session: Session) -> Sequence[KnownDevices]:
    return session.scalars(select(KnownDevices)).all()


def newest_live_version(session: Session, within_seconds: float) -> int | None:
    """Return the newest version of the spec that a live worker understands; None without a live worker."""
    since = database_now(session) - timedelta(seconds=within_seconds)
    return session.execute(select(func.max(Worker.spec_version)).where(Worker.seen_at >= since)).scalar_one()


def finished_with(session: Session, project_id: str, base_model: str, task: str, limit: int) -> Sequence[Job]:
    """List the last succeeded jobs of a task on a base model among the project's newest `AMONG`, newest first."""
    newest = (
        select(Job.id)
        .where(Job.project_id == project_id, Job.status == JobStatus.SUCCEEDED)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(AMONG)
    )
    spec = Job.resolved["spec"]
    alike = (spec["base_model"].as_string() == base_model, spec["task"].as_string() == task)
    statement = select(Job).where(Job.id.in_(newest), *alike)
    return session.scalars(statement.order_by(Job.created_at.desc()).limit(limit)).all()
