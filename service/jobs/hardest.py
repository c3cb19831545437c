"""List the held-out rows that a finished model found hardest."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from adamss_core.spec.job import training_ids_of
from service.http.context import Caller
from service.http.openapi import Out
from service.http.paging import Page, split
from service.jobs.service import get
from service.shared.database.tables import Dataset, HardestExample, Job


class HardestExampleOut(Out):
    """A row with a high loss, of those that were held out or evaluated."""

    place: int
    """1 has the highest loss."""
    row: int
    """Number of the row in its data set, from 1."""
    dataset: str | None = None
    """Id of the data set, where the job trains on several."""
    data: Literal["train", "eval", "test"]
    """Which data set that is: `dataset.eval`, `dataset.train` where rows of it were held out, or the data set of an
    evaluation."""
    input: dict[str, Any]
    """The model's input; long texts are cut."""
    expected: Any
    """The label, tags or text that the data has."""
    predicted: Any
    """The model's answer; null for a model that writes text."""
    loss: float | None
    """Mean loss of the row; null where it is not a number."""


def hardest_examples(caller: Caller, job_id: str, limit: int) -> Page[HardestExampleOut]:
    """List the hardest held-out rows, the highest loss first; empty until the job has succeeded."""
    with caller.db.read() as session:
        job = get(session, caller, job_id)
        sizes = _sizes(session, job)
        statement = select(HardestExample).where(HardestExample.job_id == job_id).order_by(HardestExample.place)
        found, more = split(session.scalars(statement.limit(limit + 1)).all(), limit)
    shown = [HardestExampleOut.model_validate(row, from_attributes=True) for row in found]
    return Page(data=[_located(row, sizes) for row in shown], has_more=more)


def _sizes(session: Session, job: Job) -> dict[str, int]:
    """Return id -> rows of the data sets that the job trains on, where they are several."""
    ids = training_ids_of(job.spec["dataset"])
    return {one: session.get_one(Dataset, one).rows for one in ids} if len(ids) > 1 else {}


def _located(row: HardestExampleOut, sizes: dict[str, int]) -> HardestExampleOut:
    """Turn a number that runs on through several data sets into one of its own data set."""
    if row.data != "train":
        return row
    begin = 0
    for dataset, rows in sizes.items():
        if row.row <= begin + rows:
            return row.model_copy(update={"row": row.row - begin, "dataset": dataset})
        begin += rows
    return row
