"""Named models with versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.shared.database.tables.table_base import Base, Json


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
