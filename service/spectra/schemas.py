"""Schemas of spectra."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from adamss_core.spec import DatasetSpec, JobSpec, ProblemType, TaskName
from adamss_core.spec.spectrum_report import SpectrumReport
from service.http.openapi import Out

Status = Literal["ready", "measuring"]


class SpectrumIn(BaseModel):
    """What the spectrum of a base model is measured on."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    dataset: DatasetSpec
    """Data set with columns, as a job has them: what is left out is taken from the data set's suggestion."""
    task: TaskName | None = None
    """Task, as a job has it."""
    problem_type: ProblemType | None = None
    """Kind of label, as a job has it."""

    def job(self, model: str) -> JobSpec:
        """Return the spec of a job on these rows.

        Raises:
            pydantic.ValidationError: the fields contradict each other.
        """
        given = {"task": self.task, "problem_type": self.problem_type}
        fields = {"name": f"Spectrum of {model}"[:120], "base_model": model, "dataset": self.dataset}
        return JobSpec.model_validate(fields | {name: value for name, value in given.items() if value is not None})


class SpectrumOut(Out):
    """Spectrum of a base model."""

    object: Literal["spectrum"] = "spectrum"
    """Always "spectrum"."""
    status: Status
    """"ready", or "measuring": ask again."""
    model: str
    """Name of the base model."""
    dataset: str | None = None
    """Id of the data set whose rows passed the model; null for the weights alone."""
    job: str | None = None
    """Id of the job that measures it; null where a process of the API does, and once it is ready."""
    report: SpectrumReport | None = None
    """The spectrum, once it is ready."""
    measured_at: datetime | None = None
    """Time at which it was measured."""
