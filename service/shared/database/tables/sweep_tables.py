"""Sweeps and their trials; presets and baselines that runs leave behind."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.shared.database.tables.table_base import Base, Json


class SweepStatus(StrEnum):
    """State of a sweep; `worker/sweep_driver.py` moves the trials of one that runs."""

    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"  # all of its trials have ended
    CANCELLED = "cancelled"


class Sweep(Base):
    """Many runs of one spec, of which the best is looked for."""

    __tablename__ = "sweeps"
    __table_args__ = (
        Index("ix_sweeps_project_created", "project_id", "created_at", "id"),
        UniqueConstraint("project_id", "idempotency_key"),
    )
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(120))
    state: Mapped[SweepStatus] = mapped_column(String(12), index=True)
    request: Mapped[Json]  # as sent, with all defaults and the whole space
    objective: Mapped[str] = mapped_column(String(60))  # metric of the evaluations
    direction: Mapped[str] = mapped_column(String(3))  # max or min
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    body_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class SweepTrial(Base):
    """A trial of a sweep: the values of its fields, and what its jobs have measured."""

    __tablename__ = "sweep_trials"
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    params: Mapped[Json]  # path of a field -> value
    refusal: Mapped[Json | None]  # {code, message, param} of the dry run; such a trial has no jobs
    evaluations: Mapped[Json]  # job -> values of the objective, in order
    planned_evaluations: Mapped[int | None]  # of each of its jobs
    stopped_after: Mapped[int | None]  # evaluations after which halving stops it; null while it goes on


class NamedPreset(Base):
    """Fields of a spec under a name of the project's: other specs choose them by it."""

    __tablename__ = "presets"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    task: Mapped[str] = mapped_column(String(40))
    fields: Mapped[Json]  # path of a field -> value
    job_id: Mapped[str | None] = mapped_column(String(40))  # the job that they are from, which may be deleted since
    created_at: Mapped[datetime]


class PinnedBaseline(Base):
    """The job that others of its group are compared with; the empty group stands for the whole project."""

    __tablename__ = "baselines"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    group_name: Mapped[str] = mapped_column(String(120), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
