"""The tables, and what their columns hold."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Double,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]


class Utc(TypeDecorator[datetime]):
    """Aware UTC datetimes; SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    # Named constraints, so that migrations can drop them on every database.
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {datetime: Utc(), Json: JSON(), list[Any]: JSON(), str: String()}


class JobStatus(StrEnum):
    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker holds the lease
    PAUSING = "pausing"  # the worker was asked to write a checkpoint and stop
    PAUSED = "paused"  # stopped with a checkpoint, resumes on request
    CANCELLING = "cancelling"  # the worker was asked to stop for good
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)
HELD = (JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING)  # a worker holds the lease


class Role(StrEnum):
    """What a key may do; each role may do what those before it may."""

    READ = "read"  # look and download
    SUBMIT = "submit"  # upload, submit, cancel, delete
    ADMIN = "admin"  # read who did what


class Project(Base):
    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    created_at: Mapped[datetime]
    # Quotas of its own, in place of the settings'.
    max_queued_jobs: Mapped[int | None]
    max_running_jobs: Mapped[int | None]
    max_storage_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_upload_bytes: Mapped[int | None] = mapped_column(BigInteger)


class ApiKey(Base):
    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(120))
    hash: Mapped[str] = mapped_column(String(64), unique=True)  # sha256 of a 256-bit random key
    role: Mapped[str] = mapped_column(String(10), server_default=Role.SUBMIT.value)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SignIn(Base):
    """A browser that is signed in, or a link that signs one in; valid as long as its key is."""

    __tablename__ = "sign_ins"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)  # sha256 of 256 random bits
    key_hash: Mapped[str] = mapped_column(String(64), index=True)  # as `ApiKey.hash`, or of the configured key
    is_link: Mapped[bool]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class AuditEntry(Base):
    """Who changed, deleted or downloaded what; never changed, and kept when key or project are gone."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime]
    project_id: Mapped[str | None] = mapped_column(String(40), index=True)
    key_id: Mapped[str | None] = mapped_column(String(40))
    key_name: Mapped[str] = mapped_column(String(120))  # or the user of the command line
    action: Mapped[str] = mapped_column(String(200))  # method and route, or the command
    path: Mapped[str] = mapped_column(String(500))  # what it was done to
    status: Mapped[int | None]  # of the answer
    request_id: Mapped[str | None] = mapped_column(String(100))
    address: Mapped[str | None] = mapped_column(String(100))


class Dataset(Base):
    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    format: Mapped[str] = mapped_column(String(20))  # of the uploaded file: csv, jsonl
    rows: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    profile: Mapped[Json]  # columns, problems, first rows
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]  # running jobs still read the file


class ModelFacts(Base):
    """What was found out about a base model, once per content of its folder or per revision."""

    __tablename__ = "model_facts"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    revision: Mapped[str] = mapped_column(String(100), primary_key=True)
    facts: Mapped[Json]
    inspected_at: Mapped[datetime]


class Job(Base):
    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(120), index=True)
    status: Mapped[JobStatus] = mapped_column(String(12), index=True)
    spec: Mapped[Json]  # as sent
    resolved: Mapped[Json]  # the plan: spec with every "auto" replaced, steps, estimate
    created_at: Mapped[datetime] = mapped_column(index=True)
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # The lease: who runs the job, under which fencing token, until when.
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    failures: Mapped[int] = mapped_column(Integer, default=0)  # attempts that count against `retries`
    retries: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None] = mapped_column(index=True)
    hinted_at: Mapped[datetime | None]  # when a wake-up was last sent
    not_before: Mapped[datetime | None]  # backoff
    # What is shown of the run; written with the attempt as guard.
    step: Mapped[int] = mapped_column(Integer, default=0)
    total_steps: Mapped[int]
    epoch: Mapped[float] = mapped_column(Float, default=0.0)
    eta_seconds: Mapped[float | None]
    last_seq: Mapped[int] = mapped_column(Integer, default=0)  # of metrics, events and subspace maps alike
    asa: Mapped[Json | None]  # {total, active, target}
    result: Mapped[Json | None]
    error: Mapped[Json | None]  # {code, message, hint}

    __table_args__ = (Index("ix_jobs_project_created", "project_id", "created_at", "id"),)


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]


def _value_of(name: str) -> Callable[[Any], float | None]:
    """Of a row of metrics that is being inserted."""

    def value(context: Any) -> float | None:
        found = context.get_current_parameters()["values"].get(name)
        return None if found is None else float(found)

    return value


class Metric(Base):
    """One logged step, or one evaluation at a step."""

    __tablename__ = "metrics"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    kind: Mapped[str] = mapped_column(String(8))  # train or eval
    step: Mapped[int]
    epoch: Mapped[float]
    time: Mapped[datetime]
    values: Mapped[Json]
    # Copies out of `values`, which take a fifth of the time to read: long histories are thinned by them.
    loss: Mapped[float | None] = mapped_column(Double, default=_value_of("loss"))
    grad_norm: Mapped[float | None] = mapped_column(Double, default=_value_of("grad_norm"))

    __table_args__ = (UniqueConstraint("job_id", "kind", "step"),)


class SubspaceMap(Base):
    """The whole ASA picture at a mask step, as `asa_summary` gives it."""

    __tablename__ = "subspace_maps"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    seq: Mapped[int]  # of the job's one sequence, as metrics and events
    summary: Mapped[Json]

    __table_args__ = (Index("ix_subspace_maps_job_seq", "job_id", "seq"),)


class Event(Base):
    """Something that happened to a job, in words and as data."""

    __tablename__ = "events"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    time: Mapped[datetime]
    type: Mapped[str] = mapped_column(String(60))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[Json]


class Checkpoint(Base):
    __tablename__ = "checkpoints"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    path: Mapped[str] = mapped_column(String(300))  # below the job's folder
    best: Mapped[bool]
    values: Mapped[Json]  # evaluation, if there was one
    created_at: Mapped[datetime]


class Artifact(Base):
    __tablename__ = "artifacts"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(20), primary_key=True)  # adapter, lora, merged, metrics
    path: Mapped[str] = mapped_column(String(300))  # of the zip, below the home folder
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[Json]
    created_at: Mapped[datetime]


class HardestExample(Base):
    """A held-out row that the finished model found hard."""

    __tablename__ = "worst_examples"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1 is the hardest
    row: Mapped[int]  # of its data set, from 1
    data: Mapped[str] = mapped_column(String(10))  # train or eval
    input: Mapped[Json]
    expected: Mapped[Any] = mapped_column(JSON(), nullable=True)
    predicted: Mapped[Any] = mapped_column(JSON(), nullable=True)
    loss: Mapped[float | None]


class Worker(Base):
    """A worker process that is, or was, alive; it renews `seen_at`."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    devices: Mapped[list[Any]] = mapped_column(JSON())  # what it trains on, such as ["cpu"]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(index=True)


class Delivery(Base):
    """A webhook that is to be sent, or was: written in the transaction that ends the job."""

    __tablename__ = "deliveries"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)  # the same in every try, so receivers can tell
    job_id: Mapped[str] = mapped_column(String(40), index=True)  # the job may be deleted meanwhile
    url: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[datetime | None] = mapped_column(index=True)  # of the next try; none where there is nothing to do
    delivered_at: Mapped[datetime | None]
    problem: Mapped[str | None] = mapped_column(Text)  # of the last try


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
