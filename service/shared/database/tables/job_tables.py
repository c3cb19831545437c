"""Jobs, and what a submit leaves beside them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, ForeignKey, Index, Integer, String, Text, true
from sqlalchemy.orm import Mapped, mapped_column

from service.shared.database.tables.table_base import Base, Json


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
    runs_on: Mapped[Json | None]  # {attempt, devices: [{name, kind}]} of the newest claim
    # For people; nothing of the training depends on them.
    tags: Mapped[list[Any] | None]  # as in `JobTag`, by which jobs are found
    notes: Mapped[str | None] = mapped_column(Text)
    group_name: Mapped[str | None] = mapped_column(String(120))
    # Of a trial of a sweep.
    sweep_id: Mapped[str | None] = mapped_column(String(40))
    trial: Mapped[int | None]  # its number in the sweep
    stopped_early: Mapped[Json | None]  # the result of a trial that the sweep has stopped

    @property
    def priority(self) -> int:
        """Return the priority, which the spec began with."""
        return -self.rank

    __table_args__ = (
        Index("ix_jobs_sweep", "sweep_id", "trial"),
        Index("ix_jobs_project_created", "project_id", "created_at", "id"),
        Index("ix_jobs_project_waiting", "project_id", "status", "queued_at"),  # older versions find the next job
        Index("ix_jobs_project_status_created", "project_id", "status", "created_at", "id"),  # lists by status
        Index("ix_jobs_project_name_created", "project_id", "name", "created_at", "id"),  # lists by name
        Index("ix_jobs_project_group_created", "project_id", "group_name", "created_at", "id"),  # lists by group
        Index("ix_jobs_project_owner_created", "project_id", "owner", "created_at", "id"),  # lists by owner
        Index("ix_jobs_project_next", "project_id", "status", "rank", "queued_at", "id"),  # each project's next job
        Index("ix_jobs_status_rank", "status", "rank"),  # the highest priority that waits
        Index("ix_jobs_status_devices", "status", "devices"),  # finds waiting jobs of several devices
        Index("ix_jobs_status_needs", "status", "devices", "device_kind", "device_memory"),  # is there one that fits?
        Index("ix_jobs_archived_ended", "metrics_archived_at", "ended_at", "id"),  # finds jobs to archive
    )


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
