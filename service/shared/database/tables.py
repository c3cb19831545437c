"""Tables of the database, with the meaning of their columns."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
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
    text,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = dict[str, Any]


class Utc(TypeDecorator[datetime]):
    """Column type of aware UTC datetimes; SQLite stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("the datetime has no time zone")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all tables."""

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
    """State of a job; `service.shared.jobs.states` holds the transitions."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker holds the lease
    PAUSING = "pausing"  # the worker was asked to write a checkpoint and stop
    PAUSED = "paused"  # stopped with a checkpoint, resumes on request
    CANCELLING = "cancelling"  # the worker was asked to stop for good
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)
UNFINISHED = tuple(status for status in JobStatus if status not in TERMINAL)
LEASED = (JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.CANCELLING)  # a worker holds the lease


class Role(StrEnum):
    """Rights of a key; each role includes the rights of the roles before it."""

    READ = "read"  # look and download
    SUBMIT = "submit"  # upload, submit, cancel, delete
    ADMIN = "admin"  # read the audit log


class HomeId(Base):
    """The only row: the random id of the home folder that this database belongs to."""

    __tablename__ = "home_id"
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)  # always 1
    id: Mapped[str] = mapped_column(String(40))


class Project(Base):
    """A tenant: keys, data sets and jobs belong to exactly one project."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    created_at: Mapped[datetime]
    # Quotas of this project; null inherits the settings' quota.
    max_queued_jobs: Mapped[int | None]
    max_running_jobs: Mapped[int | None]
    max_storage_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_upload_bytes: Mapped[int | None] = mapped_column(BigInteger)
    max_running_devices: Mapped[int | None]
    max_device_hours: Mapped[float | None] = mapped_column(Double)  # of a month, by UTC
    weight: Mapped[float] = mapped_column(Float, server_default="1")  # its share of the devices is proportional
    # Decayed use divided by the weight, as `service.shared.jobs.standing` writes it: the lowest is next.
    standing: Mapped[float] = mapped_column(Double, server_default="0")
    # Place of the project's last start among all starts; workers of older versions read it.
    last_turn: Mapped[int] = mapped_column(BigInteger, server_default="0")


class ApiKey(Base):
    """A key of a project, stored as its hash only."""

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
    """A browser session or a single-use sign-in link; valid as long as its key."""

    __tablename__ = "sign_ins"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)  # sha256 of 256 random bits
    key_hash: Mapped[str] = mapped_column(String(64), index=True)  # equals `ApiKey.hash`, or hash of the configured key
    is_link: Mapped[bool]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class AuditEntry(Base):
    """A change, deletion or download with its author; never updated, and kept after its key or project is deleted."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime]
    project_id: Mapped[str | None] = mapped_column(String(40), index=True)
    key_id: Mapped[str | None] = mapped_column(String(40))
    key_name: Mapped[str] = mapped_column(String(120))  # or the operating system's user of the command line
    action: Mapped[str] = mapped_column(String(200))  # method and route, or the command
    path: Mapped[str] = mapped_column(String(500))  # path of the request, or subject of the command
    status: Mapped[int | None]  # HTTP status of the response
    request_id: Mapped[str | None] = mapped_column(String(100))
    address: Mapped[str | None] = mapped_column(String(100))


class Dataset(Base):
    """An uploaded data set; its rows lie in the home folder."""

    __tablename__ = "datasets"
    __table_args__ = (Index("ix_datasets_project_source", "project_id", "source"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    format: Mapped[str] = mapped_column(String(20))  # of the uploaded file: csv, jsonl
    rows: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    source: Mapped[str | None] = mapped_column(String(64))  # identity of the uploaded file
    profile: Mapped[Json]  # columns, problems, first rows
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]  # a mark only: running jobs still read the file


class ModelStatus(StrEnum):
    """State of a base model that came through the API."""

    FETCHING = "fetching"  # from the hub; whoever fetches it renews `seen_at`
    READY = "ready"
    FAILED = "failed"


class AddedModel(Base):
    """A base model that came through the API; its folder is named after its id."""

    __tablename__ = "added_models"
    __table_args__ = (
        # A name is free again once its model is deleted.
        Index(
            "ix_added_models_name",
            "project_id",
            "name",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(200))  # as jobs name it
    status: Mapped[ModelStatus] = mapped_column(String(12))
    hub_id: Mapped[str | None] = mapped_column(String(200))  # null: uploaded
    revision: Mapped[str | None] = mapped_column(String(100))  # commit on the hub
    size_bytes: Mapped[int] = mapped_column(BigInteger)  # of its files; expected, while it is fetched
    done_bytes: Mapped[int] = mapped_column(BigInteger)  # of them that are there
    files: Mapped[Json]  # name -> {"size_bytes", "sha256"}; empty while it is fetched
    sha256: Mapped[str | None] = mapped_column(String(64))  # of `files`
    error: Mapped[Json | None]  # {code, message} of a failed one
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime | None]  # time of the last sign of a fetch
    deleted_at: Mapped[datetime | None]


class InspectedModel(Base):
    """Facts of an inspected base model, one row per version of its folder or per hub revision."""

    __tablename__ = "model_facts"
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    revision: Mapped[str] = mapped_column(String(100), primary_key=True)
    facts: Mapped[Json]
    inspected_at: Mapped[datetime]


class TokenLengths(Base):
    """Lengths of a data set's rows in one model's tokens, for one choice of columns."""

    __tablename__ = "token_lengths"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    revision: Mapped[str] = mapped_column(String(100), primary_key=True)  # as in `InspectedModel`
    columns: Mapped[str] = mapped_column(String(64), primary_key=True)  # sha256 of task and columns
    lengths: Mapped[Json]  # fields of `adamss_core.spec.Lengths`, or {"error": ...}
    measured_at: Mapped[datetime]


class Job(Base):
    """A fine-tuning job: spec, state, lease, progress and result."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(120), index=True)
    status: Mapped[JobStatus] = mapped_column(String(12), index=True)
    spec: Mapped[Json]  # as submitted
    resolved: Mapped[Json]  # the plan: spec with every "auto" replaced, steps, estimate
    created_at: Mapped[datetime] = mapped_column(index=True)
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # The lease: worker, fencing token (`attempt`) and end.
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    failures: Mapped[int] = mapped_column(Integer, default=0)  # attempts that count against `retries`
    retries: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(200))
    lease_until: Mapped[datetime | None] = mapped_column(index=True)
    hinted_at: Mapped[datetime | None]  # time of the last wake-up hint; sweepers of older versions read it
    not_before: Mapped[datetime | None]  # end of the backoff after a failed attempt
    # Progress of the run; updates name the attempt, so that a worker without the lease changes nothing.
    step: Mapped[int] = mapped_column(Integer, default=0)
    total_steps: Mapped[int]
    epoch: Mapped[float] = mapped_column(Float, default=0.0)
    eta_seconds: Mapped[float | None]
    last_seq: Mapped[int] = mapped_column(Integer, default=0)  # one sequence for metrics, events and subspace maps
    asa: Mapped[Json | None]  # {total, active, target}
    result: Mapped[Json | None]
    error: Mapped[Json | None]  # {code, message, hint}
    evaluates: Mapped[str | None] = mapped_column(String(40), index=True)  # the job whose model it evaluates
    metrics_archived_at: Mapped[datetime | None]  # since then its artifact `metrics` has its metric rows
    inspects: Mapped[str | None] = mapped_column(String(64), index=True)  # key of the `Spectrum` that it measures
    # Least version of the spec that a worker must understand; a trigger keeps out workers that know no versions.
    spec_version: Mapped[int] = mapped_column(Integer, server_default="1")
    # What the choice of the next job asks for.
    rank: Mapped[int] = mapped_column(Integer, server_default="0")  # minus the priority: the lowest is first
    preemptible: Mapped[bool] = mapped_column(Boolean, server_default=true())
    preempted_by: Mapped[str | None] = mapped_column(String(40))  # the job that it pauses for, until it has
    reserved_for: Mapped[str | None] = mapped_column(String(200), index=True)  # worker that keeps places for it
    metered_at: Mapped[datetime | None]  # use of the running attempt is counted until then
    owner: Mapped[str | None] = mapped_column(String(120))  # name of the key that submitted it
    # What a worker must have free to claim it: so many devices, of this kind, with so many bytes each.
    devices: Mapped[int] = mapped_column(Integer, server_default="1")
    device_kind: Mapped[str | None] = mapped_column(String(40))  # null: any
    device_memory: Mapped[int | None] = mapped_column(BigInteger)  # null: not known
    # For people; nothing of the training depends on them.
    tags: Mapped[list[Any] | None]  # as in `JobTag`, by which jobs are found
    notes: Mapped[str | None] = mapped_column(Text)
    group_name: Mapped[str | None] = mapped_column(String(120))

    @property
    def priority(self) -> int:
        """Return the priority, which the spec began with."""
        return -self.rank

    __table_args__ = (
        Index("ix_jobs_project_created", "project_id", "created_at", "id"),
        Index("ix_jobs_project_waiting", "project_id", "status", "queued_at"),  # older versions find the next job
        Index("ix_jobs_project_status_created", "project_id", "status", "created_at", "id"),  # lists by status
        Index("ix_jobs_project_name_created", "project_id", "name", "created_at", "id"),  # lists by name
        Index("ix_jobs_project_group_created", "project_id", "group_name", "created_at", "id"),  # lists by group
        Index("ix_jobs_project_owner_created", "project_id", "owner", "created_at", "id"),  # lists by owner
        Index("ix_jobs_project_next", "project_id", "status", "rank", "queued_at", "id"),  # each project's next job
        Index("ix_jobs_archived_ended", "metrics_archived_at", "ended_at", "id"),  # finds jobs to archive
    )


class DeviceUse(Base):
    """Device seconds of a month, by project and owner; kept when jobs are deleted."""

    __tablename__ = "device_use"
    project_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    month: Mapped[str] = mapped_column(String(7), primary_key=True)  # such as 2026-11, by UTC
    owner: Mapped[str] = mapped_column(String(120), primary_key=True)  # empty for jobs of earlier versions
    device_seconds: Mapped[float] = mapped_column(Double)
    attempts: Mapped[int]  # that began in this month


class JobTag(Base):
    """A tag of a job, to find jobs by it."""

    __tablename__ = "job_tags"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(String(40))

    __table_args__ = (Index("ix_job_tags_project_tag", "project_id", "tag", "job_id"),)


class IdempotencyKey(Base):
    """A submit's Idempotency-Key, with the job that the submit created."""

    __tablename__ = "idempotency_keys"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    created_at: Mapped[datetime]


def _value_of(name: str) -> Callable[[Any], float | None]:
    """Return a column default that copies one of the inserted row's `values`."""

    def value(context: Any) -> float | None:
        number = context.get_current_parameters()["values"].get(name)
        return None if number is None else float(number)

    return value


class MetricRow(Base):
    """The metrics of one logged step, or of one evaluation at a step."""

    __tablename__ = "metrics"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    kind: Mapped[str] = mapped_column(String(8))  # train or eval
    step: Mapped[int]
    epoch: Mapped[float]
    time: Mapped[datetime]
    values: Mapped[Json]
    # Copies from `values`, read in a fifth of the time; long histories are thinned by these columns.
    loss: Mapped[float | None] = mapped_column(Double, default=_value_of("loss"))
    grad_norm: Mapped[float | None] = mapped_column(Double, default=_value_of("grad_norm"))

    __table_args__ = (UniqueConstraint("job_id", "kind", "step"),)


class SubspaceMap(Base):
    """State of all subspaces at a mask step, as `asa_summary` returns it."""

    __tablename__ = "subspace_maps"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    seq: Mapped[int]  # in the job's sequence, shared with metrics and events
    summary: Mapped[Json]

    __table_args__ = (Index("ix_subspace_maps_job_seq", "job_id", "seq"),)


class Event(Base):
    """An event of a job, as a message and as data."""

    __tablename__ = "events"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    time: Mapped[datetime]
    type: Mapped[str] = mapped_column(String(60))
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[Json]


class Checkpoint(Base):
    """A checkpoint of a job in the home folder."""

    __tablename__ = "checkpoints"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    path: Mapped[str] = mapped_column(String(300))  # below the job's folder
    best: Mapped[bool]
    values: Mapped[Json]  # metrics of the evaluation at this step; empty without one
    created_at: Mapped[datetime]


class Artifact(Base):
    """A published zip of a finished job."""

    __tablename__ = "artifacts"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(20), primary_key=True)  # adapter, lora, merged, metrics
    path: Mapped[str] = mapped_column(String(300))  # of the zip, below the home folder
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    manifest: Mapped[Json]
    created_at: Mapped[datetime]


class RegisteredModel(Base):
    """A name under which a project serves versions of a trained model."""

    __tablename__ = "registered_models"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(80))
    webhook: Mapped[str | None] = mapped_column(Text)  # receives each change
    last_version: Mapped[int] = mapped_column(default=0)  # numbers are never used again
    created_at: Mapped[datetime]


class ModelVersion(Base):
    """A version of a registered model: the artifacts of one job, which are kept as long as the version."""

    __tablename__ = "model_versions"
    model_id: Mapped[str] = mapped_column(ForeignKey("registered_models.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    artifacts: Mapped[Json]  # name -> sha256
    metric: Mapped[Json | None]  # {name, direction, value} of the metric that chose the checkpoint
    datasets: Mapped[list[Any]]  # ids of the data that it was trained and measured on
    created_at: Mapped[datetime]


class ModelLabel(Base):
    """A stage label of a registered model, such as live, with the versions that it named one after the other."""

    __tablename__ = "model_labels"
    model_id: Mapped[str] = mapped_column(ForeignKey("registered_models.id"), primary_key=True)
    label: Mapped[str] = mapped_column(String(40), primary_key=True)
    history: Mapped[list[Any]]  # the last one is named now


class StoredFile(Base):
    """A file or folder of the home folder that the store of files has too; visible there by this row only."""

    __tablename__ = "stored_files"
    name: Mapped[str] = mapped_column(String(300), primary_key=True)  # below the home folder
    owner: Mapped[str] = mapped_column(String(250), index=True)  # id of its job or data set, or name of its base model
    key: Mapped[str] = mapped_column(String(500), unique=True)  # of the object; never used again
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    is_folder: Mapped[bool]  # the object is a tar of it
    created_at: Mapped[datetime]


class HardestExample(Base):
    """A held-out row with one of the finished model's highest losses."""

    __tablename__ = "worst_examples"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # rank by loss, from 1 (highest)
    row: Mapped[int]  # row number in its data set, from 1
    data: Mapped[str] = mapped_column(String(10))  # train or eval
    input: Mapped[Json]
    expected: Mapped[Any] = mapped_column(JSON(), nullable=True)
    predicted: Mapped[Any] = mapped_column(JSON(), nullable=True)
    loss: Mapped[float | None]


class Evaluation(Base):
    """A report on the evaluation of a finished model, as the run made it."""

    __tablename__ = "evaluations"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # held-out rows first, then test data
    report: Mapped[Json]


class Spectrum(Base):
    """Spectrum of a base model, alone or with the rows of a data set in it; kept when its job is deleted."""

    __tablename__ = "spectra"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)  # sha256 of all that it depends on
    model: Mapped[str] = mapped_column(String(200), index=True)
    revision: Mapped[str] = mapped_column(String(100))  # as in `InspectedModel`
    dataset_id: Mapped[str | None] = mapped_column(String(40), index=True)  # null: of the weights alone
    report: Mapped[Json]  # fields of `adamss_core.spec.spectrum_report.SpectrumReport`
    measured_at: Mapped[datetime]


class Worker(Base):
    """A worker process, live or past; a live worker renews `seen_at`."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    devices: Mapped[list[Any]] = mapped_column(JSON())  # devices to train on, such as ["cpu"]
    resources: Mapped[Json | None]  # fields of `service.shared.resources.Resources`; null from an older version
    spec_version: Mapped[int] = mapped_column(
        Integer, server_default="1"
    )  # newest version of the spec that it understands
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(index=True)


class HostDevice(Base):
    """A device of a host as one of its workers registers it; the lock on the host owns it, and this row follows."""

    __tablename__ = "devices"
    worker_id: Mapped[str] = mapped_column(ForeignKey("workers.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), primary_key=True)  # such as "cuda:0" or "cpu:1"
    # Of the device itself: equal in the rows of all workers that may use it, such as a GPU's UUID.
    key: Mapped[str] = mapped_column(String(300), index=True)
    place: Mapped[int]  # among the worker's devices, from 0
    kind: Mapped[str] = mapped_column(String(40))  # a label such as "h100" or "cpu"
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)  # null: not known
    free_bytes: Mapped[int | None] = mapped_column(BigInteger)  # when nobody held it last
    job_id: Mapped[str | None] = mapped_column(String(40), index=True)  # the job that holds it; null: free


class Drain(Base):
    """A host whose workers start nothing new."""

    __tablename__ = "drains"
    host: Mapped[str] = mapped_column(String(255), primary_key=True)
    move: Mapped[bool]  # whether running jobs leave too
    since: Mapped[datetime]


class Duty(Base):
    """Work that one worker at a time does for all, such as collecting files."""

    __tablename__ = "duties"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(40))  # of the pass under way, or of the last one
    until: Mapped[datetime]  # no other worker begins a pass before, by `database_now`


class Delivery(Base):
    """A webhook, pending or delivered; written in the transaction that ends the job."""

    __tablename__ = "deliveries"
    id: Mapped[str] = mapped_column(
        String(40), primary_key=True
    )  # equal in every try, so that receivers can discard repeats
    job_id: Mapped[str] = mapped_column(
        String(40), index=True
    )  # no foreign key: the job may be deleted before delivery
    url: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    tries: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[datetime | None] = mapped_column(
        index=True
    )  # time of the next try; null once delivered or given up
    delivered_at: Mapped[datetime | None]
    problem: Mapped[str | None] = mapped_column(Text)  # failure of the last try


def now() -> datetime:
    """Return the wall-clock time in UTC; leases use `service.shared.database.clock` instead."""
    return datetime.fromtimestamp(time.time(), UTC)
