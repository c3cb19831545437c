"""What runs report, and the files that they make."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.shared.database.tables.table_base import Base, Json


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


DECOMPOSITIONS = "decompositions"  # owner of the stored decompositions, which belong to no project


class StoredFile(Base):
    """A file or folder of the home folder that the store of files has too; visible there by this row only."""

    __tablename__ = "stored_files"
    name: Mapped[str] = mapped_column(String(300), primary_key=True)  # below the home folder
    owner: Mapped[str] = mapped_column(String(250), index=True)  # id of job or data set, name of base model, or above
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
