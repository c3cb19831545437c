"""Who may do what: projects, keys, sessions and the audit log."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Double, Float, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.shared.database.tables.table_base import Base


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
