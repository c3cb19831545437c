"""Paged lists: `{"object": "list", "data": [...], "has_more": bool, "next": cursor}`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import Select, func, literal_column, select
from sqlalchemy.orm import Session

from service.shared.errors import InvalidRequest

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=1_000, description="Largest number of entries to return.")]
After = Annotated[
    str | None, Query(max_length=200, description="`next` of the previous page; omit it for the first page.")
]


COUNTED = 1_000  # entries of a list that are counted, by an index, in milliseconds


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    # Descriptions as fields, not as docstrings: for each `Page[X]` pydantic would look for the source of a class that
    # has none, through every module loaded (5 s beside transformers).
    object: Literal["list"] = Field(default="list", description='Always "list".')
    data: list[T] = Field(description="The entries.")
    has_more: bool = Field(description="Whether more entries follow.")
    total: int | None = Field(
        default=None,
        description=f"Entries of the whole list, counted on its first page up to {COUNTED:,}; else null.",
    )
    next: str | int | None = Field(
        default=None, description="Value of `after` for the next page; null on an empty page."
    )


def cursor(moment: datetime, identity: str) -> str:
    """Encode a position in a list ordered by time and id; valid even after its row is deleted."""
    return base64.urlsafe_b64encode(f"{moment.astimezone(UTC).isoformat()} {identity}".encode()).decode().rstrip("=")


def parse_cursor(text: str | None) -> tuple[datetime, str] | None:
    """Decode a position encoded by `cursor`.

    Raises:
        InvalidRequest: the text is not a cursor.
    """
    if text is None:
        return None
    try:
        plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        moment, _, identity = plain.partition(" ")
        parsed = datetime.fromisoformat(moment)
        if parsed.tzinfo is None or not identity.isprintable():
            raise _bad_cursor()
        return parsed.astimezone(UTC), identity
    except (ValueError, OverflowError, binascii.Error) as error:
        raise _bad_cursor() from error


def count(session: Session, entries: Select[Any], after: str | None) -> int | None:
    """Count the entries of a whole list, up to COUNTED; None beyond its first page, whose reader knows the number.

    Args:
        entries: selects the list's entries, without order and limit.
    """
    if after is not None:
        return None
    some = entries.with_only_columns(literal_column("1"), maintain_column_froms=True).limit(COUNTED).subquery()
    return session.execute(select(func.count()).select_from(some)).scalar_one()


def split(rows: Sequence[T], limit: int) -> tuple[list[T], bool]:
    """Split limit + 1 rows into a page, and whether more rows follow."""
    return list(rows[:limit]), len(rows) > limit


def _bad_cursor() -> InvalidRequest:
    return InvalidRequest("after must be the `next` of a previous page.", code="invalid_cursor", param="after")
