"""Sweeps, as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints, model_validator

from adamss_core.spec import JobSpec
from adamss_core.spec.tasks.metrics import Direction
from service.http.openapi import Out
from service.shared.database.tables import SweepStatus
from service.shared.sweeps.trial_table import TrialState

MOST_TRIALS = 100
MOST_FIELDS = 20
PATH = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,3}$"
FieldPath = Annotated[str, StringConstraints(max_length=100, pattern=PATH)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Value = str | bool | int | Number | list[str] | None


class Dimension(BaseModel):
    """What a field may be: bounds, or values."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    min: StrictInt | Number | None = None
    """Least value; with two whole numbers as bounds only whole numbers are tried."""
    max: StrictInt | Number | None = None
    """Largest value."""
    log: bool = False
    """Whether factors count instead of differences, as for learning rates."""
    values: Annotated[list[Value], Field(min_length=1, max_length=50)] | None = None
    """The values to choose from, in the place of bounds."""
    when: dict[FieldPath, list[Value]] | None = None
    """Only where each of these fields has one of the values; else the field stays as the spec has it."""

    @model_validator(mode="after")
    def _bounds_or_values(self) -> Self:
        if self.values is not None:
            if self.min is not None or self.max is not None or self.log:
                raise ValueError("give either values, or min and max")
        elif self.min is None or self.max is None:
            raise ValueError("give values, or both min and max")
        elif self.min >= self.max:
            raise ValueError("min must be less than max")
        elif self.log and self.min <= 0:
            raise ValueError("min must be above 0 with log")
        return self


class Halving(BaseModel):
    """When trials that do badly are stopped: successive halving on evaluations."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    first: Annotated[StrictInt, Field(ge=1, le=1_000)] = 1
    """Evaluations that each trial makes before the first ones are stopped."""
    factor: Annotated[StrictInt, Field(ge=2, le=10)] = 2
    """One trial of so many goes on; the next decision comes after so many times the evaluations."""


class SweepIn(BaseModel):
    """A sweep: many runs of one spec."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    """A name for people; by default that of the spec."""
    spec: JobSpec
    """The job; `priority` is -10 where it is left out."""
    space: (
        Annotated[dict[FieldPath, Dimension], Field(min_length=1, max_length=MOST_FIELDS)]
        | Literal["quick", "thorough"]
    ) = "quick"
    """Fields of the spec by their paths, such as training.learning_rate; or a ready space of the task."""
    trials: Annotated[StrictInt, Field(ge=1, le=MOST_TRIALS)] = 12
    """How many different choices are tried."""
    parallel: Annotated[StrictInt, Field(ge=1, le=64)] = 2
    """Trials under way at a time, as far as workers are free."""
    objective: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    """Evaluation metric that ranks the trials; by default the task's own."""
    stop: Halving | None = Halving()
    """When trials are stopped early; null trains all to their end."""
    seeds: Annotated[list[Annotated[StrictInt, Field(ge=0, le=2**32 - 1)]], Field(max_length=10)] = []
    """Run each choice once with each of these seeds; the mean ranks. Empty: once, with the spec's seed."""
    time_limit_seconds: Annotated[float, Field(gt=0, le=365 * 86_400)] | None = None
    """Seconds from the submission after which no trial goes on; what was measured by then ranks."""
    device_hours: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Device hours of all trials after which no trial goes on; what was measured by then ranks."""
    keep: Annotated[StrictInt, Field(ge=1, le=MOST_TRIALS)] = 1
    """Best trials whose artifacts are kept."""
    sampler_seed: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the choice of values; the same one chooses the same values."""


class RefusalOut(Out):
    """Why a trial cannot run."""

    code: str
    """The exact error, for programs."""
    message: str
    """The fault and its remedy."""
    param: str | None
    """Path of the field at fault."""


class TrialOut(Out):
    """A trial of a sweep."""

    number: int
    """Its number, from 1."""
    params: dict[str, Any]
    """The values of its fields, by their paths."""
    state: TrialState
    """refused (by the dry run), waiting, running, stopped (early), complete, failed or cancelled."""
    value: float | None
    """The objective: of its best evaluation, as a mean over the seeds; null before there is one."""
    error: float | None
    """Standard error of the mean; null with one seed."""
    evaluations: list[float | None]
    """The objective at each evaluation so far, of its first job."""
    stopped_after: int | None
    """The evaluation by which it was judged and stopped; null where it was not. It may have trained on until then."""
    step: int
    """The last step that its jobs have reported: of one that was stopped, where it stopped."""
    refusal: RefusalOut | None
    """Why the dry run refuses it."""
    jobs: list[str]
    """Its jobs, one for each seed."""
    ended_at: datetime | None
    """When its last job ended."""


class SweepSummaryOut(Out):
    """A sweep, as lists show it."""

    object: Literal["sweep"] = "sweep"
    """Always "sweep"."""
    id: str
    """Its id."""
    name: str
    """Its name."""
    status: SweepStatus
    """running, paused, succeeded (all trials have ended) or cancelled."""
    objective: str
    """The metric that ranks."""
    direction: Direction
    """Whether larger ("max") or smaller ("min") values are better."""
    counts: dict[str, int]
    """Trials by state."""
    best: TrialOut | None
    """The best complete trial so far."""
    no_best: str | None
    """Why no trial is the best; null where one is, or where trials go on."""
    created_at: datetime
    """When it was submitted."""
    ended_at: datetime | None
    """When its last trial ended."""


class SweepOut(SweepSummaryOut):
    """A sweep with its trials."""

    request: dict[str, Any]
    """The sweep as it was sent, with defaults and the whole space."""
    trials: list[TrialOut]
    """Its trials, by number."""
    device_seconds: float
    """Device seconds of its trials so far."""


class ImportanceOut(Out):
    """How much each field of a sweep's space mattered."""

    importance: dict[str, float] | None
    """Share of each field that all trials choose, by Optuna's PED-ANOVA, largest first; null where fewer than four
    trials have a value, or all the same one. Trials that were stopped early count with the value that they had."""
    trials: int
    """Trials that count."""


class SweepPlanOut(Out):
    """What a sweep would do."""

    trials: int
    """Trials that would run."""
    jobs: int
    """Their jobs: trials times seeds."""
    refused: int
    """Trials that the dry run refuses; they would be shown, not run."""
    objective: str
    """The metric that ranks."""
    direction: Direction
    """Whether larger or smaller values are better."""
    seconds: float | None
    """Expected time with `parallel` trials under way and none stopped early; null if unknown."""
    warnings: list[str]
    """What works but may surprise."""
    planned: list[TrialOut]
    """The trials with their values."""
