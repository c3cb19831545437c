"""List the held-out rows that a finished model found hardest."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select

from service.http.context import Caller
from service.http.openapi import Out
from service.http.paging import Page, split
from service.jobs.service import get
from service.shared.database.tables import HardestExample


class HardestExampleOut(Out):
    """A held-out row with a high loss."""

    place: int
    """1 has the highest loss."""
    row: int
    """Number of the row in its data set, from 1."""
    data: Literal["train", "eval"]
    """Which data set that is: `dataset.eval`, or `dataset.train` where rows of it were held out."""
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
        get(session, caller, job_id)
        statement = select(HardestExample).where(HardestExample.job_id == job_id).order_by(HardestExample.place)
        found, more = split(session.scalars(statement.limit(limit + 1)).all(), limit)
    return Page(data=[HardestExampleOut.model_validate(row, from_attributes=True) for row in found], has_more=more)
