"""Columns that several tasks share; the columns of a single task stand in its own file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adamss_core.spec.spec_model import Column, SpecModel


class TextColumn(SpecModel):
    text: Column = "text"
    """Column with the text."""


class LabelColumn(SpecModel):
    label: Column | Annotated[list[Column], Field(min_length=2, max_length=500)] = "label"
    """Column with the class, the list of classes, or the number to predict. With several classes in a row
    (multi_label_classification) also a list of columns, one for each class and named after it, of 0 and 1."""
    label_separator: Annotated[str, Field(min_length=1, max_length=5)] | None = None
    """What separates the classes within a cell, where a row has several; lists in JSONL need none."""
