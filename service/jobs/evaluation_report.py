"""Show how a finished model was evaluated, in full."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select

from service.http.context import Caller
from service.http.openapi import Out
from service.http.paging import Page
from service.jobs.schemas import JudgementOut, WarningOut
from service.jobs.service import get
from service.shared.database.tables import Evaluation


class ClassScoresOut(Out):
    """Scores of one class, type of entities, or tag."""

    name: str
    """Its name."""
    expected: int
    """Number of times the data have it."""
    predicted: int
    """Number of times the model answers it."""
    right: int
    """Number of times both agree."""
    precision: float
    """Share of the answers that are right; 0 where there are none."""
    recall: float
    """Share of the expected ones that are found; 0 where there are none."""
    f1: float
    """Harmonic mean of both."""


class ConfusionOut(Out):
    """Confusion matrix."""

    names: list[str]
    """The classes, or tags of words."""
    counts: list[list[int]]
    """A row for each expected class, a column for each predicted one."""


class ConfusedOut(Out):
    """A confusion of two classes."""

    expected: str
    """Class of the data."""
    predicted: str
    """Class of the answer."""
    rows: int
    """Number of rows."""


class QuantileOut(Out):
    """A quantile of the residuals."""

    share: float
    """Share of the rows whose residual is lower."""
    value: float
    """The residual."""


class HistogramOut(Out):
    """Histogram of the residuals."""

    edges: list[float]
    """Bounds of the bins: one more than there are bins."""
    rows: list[int]
    """Rows of each bin."""


class ResidualsOut(Out):
    """Predicted less expected numbers."""

    mean: float
    """Positive where predictions are too high."""
    mean_absolute: float
    """Mean absolute error."""
    root_mean_square: float
    """Root of the mean squared error."""
    lowest: float
    """Largest error downwards."""
    highest: float
    """Largest error upwards."""
    quantiles: list[QuantileOut]
    """Of the residuals."""
    histogram: HistogramOut
    """Of the residuals."""


class GenerationOut(Out):
    """Comparison of answers that the model wrote with those of the data."""

    rows: int
    """Rows that were answered, at even distances: a few, as writing takes long."""
    exact_match: float
    """Share of the answers that are equal but for white space around them."""
    rouge_l: float
    """Mean ROUGE-L (F1 of the longest common subsequence of words)."""
    ended: float
    """Share of the answers that the model ended by itself."""


class AnswerOut(Out):
    """An answer that the model wrote."""

    row: int
    """Number of the row in its data set, from 1."""
    expected: str
    """The data's own answer; long ones are cut."""
    answer: str
    """The model's answer; long ones are cut."""
    exact: bool
    """Whether both are equal but for white space around them."""
    rouge_l: float
    """Their ROUGE-L."""
    ended: bool
    """Whether the model ended the answer by itself."""


class ReportOut(Out):
    """Evaluation of the finished model on some rows. Parts that the job's task does not have are null."""

    data: Literal["train", "eval", "test"]
    """The data set of the rows: `train` where a share of it was held out."""
    rows: int
    """How many they are."""
    metrics: dict[str, float | None]
    """Loss and the task's metrics."""
    baseline: dict[str, Any] | None
    """The same metrics of the baseline, and in words what it `predicts`."""
    judgement: JudgementOut | None
    """The metric that chose the checkpoint beside the baseline."""
    warnings: list[WarningOut]
    """Reasons to doubt the model."""
    classes: list[ClassScoresOut] | None = None
    """Scores of each class, type of entities, or tag."""
    classes_are: Literal["classes", "entities", "tags"] | None = None
    """What `classes` lists."""
    confusion: ConfusionOut | None = None
    """Confusion matrix; null beyond 50 classes."""
    confused: list[ConfusedOut] | None = None
    """The most frequent confusions."""
    residuals: ResidualsOut | None = None
    """Errors of predicted numbers."""
    generation: GenerationOut | None = None
    """Scores of written answers; null where the job's `sample_prompts` is 0, and for plain text."""
    answers: list[AnswerOut] | None = None
    """The written answers."""


def reports(caller: Caller, job_id: str) -> Page[ReportOut]:
    """List the reports on a finished model: held-out rows first; empty until the job has succeeded."""
    with caller.db.read() as session:
        get(session, caller, job_id)
        statement = select(Evaluation).where(Evaluation.job_id == job_id).order_by(Evaluation.place)
        found = [row.report for row in session.scalars(statement)]
    return Page(data=[ReportOut.model_validate(report) for report in found], has_more=False)
