"""What jobs read: data sets and base models, with what was measured of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from service.shared.database.tables.table_base import Base, Json


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


class Spectrum(Base):
    """Spectrum of a base model, alone or with the rows of a data set in it; kept when its job is deleted."""

    __tablename__ = "spectra"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)  # sha256 of all that it depends on
    model: Mapped[str] = mapped_column(String(200), index=True)
    revision: Mapped[str] = mapped_column(String(100))  # as in `InspectedModel`
    dataset_id: Mapped[str | None] = mapped_column(String(40), index=True)  # null: of the weights alone
    report: Mapped[Json]  # fields of `adamss_core.spec.spectrum_report.SpectrumReport`
    measured_at: Mapped[datetime]
