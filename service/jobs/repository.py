"""Query jobs and their reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, case, cast, delete, func, select, tuple_
from sqlalchemy.orm import Session, defer

from service.shared.database.clock import database_now
from service.shared.database.tables import (
    Artifact,
    Checkpoint,
    Dataset,
    Evaluation,
    Event,
    HardestExample,
    IdempotencyKey,
    Job,
    JobStatus,
    Json,
    MetricRow,
    SubspaceMap,
    TokenLengths,
    Worker,
)

CHUNK = 5_000  # numbers in one statement
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


def find(session: Session, project_id: str, job_id: str, *, lock: bool = False) -> Job | None:
    statement = select(Job).where(Job.id == job_id, Job.project_id == project_id)
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def page(
    session: Session,
    project_id: str,
    status: Sequence[JobStatus],
    name: str | None,
    evaluates: str | None,
    after: tuple[datetime, str] | None,
    limit: int,
) -> Sequence[ListedJob]:
    """List a page of the project's jobs, newest first."""
    paths = ("task",), ("problem_type",), ("base_model",), ("training", "metric_for_best")
    shown = [Job.resolved[("spec", *path)].as_string() for path in paths]
    slim = (defer(Job.spec, raiseload=True), defer(Job.resolved, raiseload=True))
    statement = select(Job, *shown, Job.resolved["evaluates"]).options(*slim).where(Job.project_id == project_id)
    if status:
        statement = statement.where(Job.status.in_(status))
    if name is not None:
        statement = statement.where(Job.name == name)
    if evaluates is not None:
        statement = statement.where(Job.evaluates == evaluates)
    if after is not None:
        statement = statement.where(tuple_(Job.created_at, Job.id) < after)
    found = session.execute(statement.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit))
    return [ListedJob(*row) for row in found]


def lock_datasets(session: Session, project_id: str, ids: Sequence[str]) -> set[str]:
    """Lock data sets against deletion until the transaction ends; return the ids that exist."""
    statement = select(Dataset.id).where(
        Dataset.id.in_(ids), Dataset.project_id == project_id, Dataset.deleted_at.is_(None)
    )
    return set(session.scalars(statement.with_for_update(read=True)))


def has_artifact(session: Session, job_id: str, name: str) -> bool:
    return session.get(Artifact, (job_id, name)) is not None


def find_idempotency_key(session: Session, project_id: str, key: str) -> IdempotencyKey | None:
    return session.get(IdempotencyKey, (project_id, key))


def metrics_named(session: Session, job_id: str, after: int, name: str, limit: int) -> list[MetricRow]:
    """List rows with a value of this name; searched here, because JSON paths differ between databases."""
    found: list[MetricRow] = []
    statement = select(MetricRow).where(MetricRow.job_id == job_id, MetricRow.seq > after).order_by(MetricRow.seq)
    for metric in session.scalars(statement.execution_options(yield_per=1_000)):
        if name in metric.values:
            found.append(metric)
            if len(found) == limit:
                break
    return found


def metrics_span(session: Session, job_id: str, after: int, name: str | None) -> tuple[int, int, int]:
    """Return count, first and last sequence number of the rows after `after` with a number of this name."""
    statement = select(func.count(), func.min(MetricRow.seq), func.max(MetricRow.seq))
    count, first, last = session.execute(statement.where(*_past(job_id, after, name))).one()
    return count, first or 0, last or 0


def evaluations(session: Session, job_id: str, after: int) -> Sequence[int]:
    """List the sequence numbers of evaluations, by the index of kinds and steps instead of a scan of all rows."""
    of_job = (MetricRow.job_id == job_id, MetricRow.kind == "eval", MetricRow.seq > after)
    return session.scalars(select(MetricRow.seq).where(*of_job)).all()


def extremes(
    session: Session, job_id: str, after: int, names: Sequence[str], span: tuple[int, int], stretches: int
) -> set[int]:
    """Return the sequence numbers of each name's lowest and highest value in each of N equal parts of a span.

    The database finds them in two passes, so that only the chosen rows are transferred.

    Args:
        span: first and last sequence number.
        stretches: N.
    """
    first, last = span
    place = (cast(MetricRow.seq, BigInteger) - first) * stretches // (last - first + 1)
    values = [_number(name) for name in names]
    bounds = [kind(value) for value in values for kind in (func.min, func.max)]
    labelled = [bound.label(f"bound_{number}") for number, bound in enumerate(bounds)]
    parts = select(place.label("place"), *labelled).where(*_past(job_id, after, None)).group_by(place).subquery()
    held = [
        func.min(case((value == parts.c[f"bound_{2 * number + end}"], MetricRow.seq)))
        for number, value in enumerate(values)
        for end in (0, 1)
    ]
    found = select(*held).join(parts, parts.c.place == place).where(*_past(job_id, after, None)).group_by(place)
    return {seq for row in session.execute(found) for seq in row if seq is not None}


def metrics_at(
    session: Session, job_id: str, places: list[int] | None, after: int, name: str | None
) -> list[MetricRow]:
    """List rows by their sequence numbers, in order; None for all after `after` with a number of this name."""
    if places is None:
        statement = select(MetricRow).where(*_past(job_id, after, name)).order_by(MetricRow.seq)
        return list(session.scalars(statement))
    found: list[MetricRow] = []
    for start in range(0, len(places), CHUNK):
        chunk = places[start : start + CHUNK]
        statement = (
            select(MetricRow).where(MetricRow.job_id == job_id, MetricRow.seq.in_(chunk)).order_by(MetricRow.seq)
        )
        found += session.scalars(statement)
    return found


def _past(job_id: str, after: int, name: str | None) -> list[ColumnElement[bool]]:
    past: list[ColumnElement[bool]] = [MetricRow.job_id == job_id, MetricRow.seq > after]
    return past if name is None else [*past, _number(name).is_not(None)]


def _number(name: str) -> ColumnElement[Any]:
    return _COPIED[name] if name in _COPIED else MetricRow.values[name].as_float()


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
    for table in (*reported, Artifact, IdempotencyKey):
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
