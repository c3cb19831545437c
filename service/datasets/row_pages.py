"""The stored rows of a data set, page by page, read from where the page before ended."""

from __future__ import annotations

import json
from typing import Any

from service.datasets.rows import MEBIBYTE
from service.datasets.service import get
from service.http.context import Caller
from service.http.openapi import Out
from service.http.paging import Page
from service.shared.errors import InvalidRequest

PAGE_BYTES = 4 * MEBIBYTE  # of rows in an answer, beyond which it ends early


class DataRowOut(Out):
    """A row of a data set."""

    row: int
    """Its number among the stored rows, from 1."""
    values: dict[str, Any]
    """Column -> value."""


def list_rows(caller: Caller, dataset_id: str, after: str | None, limit: int) -> Page[DataRowOut]:
    """Return the rows after a position, which is the number of a row and the byte at which it ends.

    Raises:
        NotFound: the data set does not exist.
        InvalidRequest: the position is not one.
    """
    dataset = get(caller, dataset_id)
    number, place = _position(after)
    found: list[DataRowOut] = []
    begin = place
    with caller.host_files.dataset(dataset_id)[0].open("rb") as file:
        file.seek(place)
        while len(found) < limit and place - begin < PAGE_BYTES and (line := file.readline()):
            number += 1
            place += len(line)
            found.append(DataRowOut(row=number, values=_values(line)))
    return Page(data=found, has_more=number < dataset.rows, next=f"{number}-{place}" if found else None)


def _values(line: bytes) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(line)
    except ValueError as error:  # the position is within a row
        raise _wrong() from error
    if not isinstance(values, dict):
        raise _wrong()
    return values


def _position(after: str | None) -> tuple[int, int]:
    if after is None:
        return 0, 0
    number, _, place = after.partition("-")
    if not (number.isascii() and number.isdigit() and place.isascii() and place.isdigit()) or len(after) > 40:
        raise _wrong()
    return int(number), int(place)


def _wrong() -> InvalidRequest:
    return InvalidRequest("after must be the `next` of a previous page.", code="invalid_cursor", param="after")
