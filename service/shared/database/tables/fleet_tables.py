"""Workers, their devices, what they do for all, and the use of devices."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from service.shared.database.tables.table_base import Base, Json


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
    job_id: Mapped[str | None] = mapped_column(String(40), index=True)  # the job that has it alone; null: none
    # The jobs that share it, each with the bytes that it is estimated to take; null: none.
    shares: Mapped[dict[str, int] | None] = mapped_column(JSON(none_as_null=True))
    most_jobs: Mapped[int] = mapped_column(Integer, server_default="1")  # that may share it


class KnownDevices(Base):
    """The most that any worker has ever registered of a kind of device; kept when workers are forgotten."""

    __tablename__ = "known_devices"
    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    devices: Mapped[int]  # of one worker
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)  # of the largest; null: not known


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


class DeviceUse(Base):
    """Device seconds of a month, by project and owner; kept when jobs are deleted."""

    __tablename__ = "device_use"
    project_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    month: Mapped[str] = mapped_column(String(7), primary_key=True)  # such as 2026-11, by UTC
    owner: Mapped[str] = mapped_column(String(120), primary_key=True)  # empty for jobs of earlier versions
    device_seconds: Mapped[float] = mapped_column(Double)
    attempts: Mapped[int]  # that began in this month
