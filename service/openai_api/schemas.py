"""OpenAI's shapes of files, models and fine-tuning jobs; `openai`'s own types validate them in the tests."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from service.http.openapi import Out

T = TypeVar("T")


class OpenAIPage(BaseModel, Generic[T]):
    """One page of a list."""

    object: Literal["list"] = Field(default="list", description='Always "list".')
    data: list[T] = Field(description="The entries.")
    has_more: bool = Field(default=False, description="Whether more entries follow.")
    first_id: str | None = Field(default=None, description="Id of the first entry; null on an empty page.")
    last_id: str | None = Field(default=None, description="Id of the last entry, the next page's `after`.")

    @classmethod
    def of(cls, entries: list[Any], has_more: bool = False) -> OpenAIPage[T]:
        """Make a page of entries with an id each."""
        ids = [entry.id for entry in entries] or [None]
        return cls(data=entries, has_more=has_more, first_id=ids[0], last_id=ids[-1])


class OpenAIFile(Out):
    """A file of examples, which is a data set, or the numbers of a finished job."""

    id: str
    """Its id: that of the data set (`ds_…`), or `results_` and the job's id."""
    object: Literal["file"] = "file"
    """Always "file"."""
    bytes: int
    """Size of its content."""
    created_at: int
    """Unix time of its creation."""
    filename: str
    """Its name."""
    purpose: Literal["fine-tune", "fine-tune-results"]
    """What it is for."""
    status: Literal["processed"] = "processed"
    """Always "processed": a file is read while it is uploaded."""
    expires_at: int | None = None
    """Always null: data sets are kept as the operator has set it."""
    status_details: str | None = None
    """Always null."""


class OpenAIDeleted(Out):
    """Confirmation of a deletion."""

    id: str
    """Id of what was deleted."""
    object: Literal["file", "model"]
    """Its kind."""
    deleted: bool = True
    """Always true."""


class OpenAIModel(Out):
    """A base model, or the model of a finished job."""

    id: str
    """Its name: of a base model, or `ft:base:project:suffix:job`."""
    object: Literal["model"] = "model"
    """Always "model"."""
    created: int
    """Unix time of its creation."""
    owned_by: str
    """The project that has trained it; "adamss" for a base model."""
