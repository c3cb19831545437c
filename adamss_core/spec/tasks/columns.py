"""Columns that several tasks share; the columns of a single task stand in its own file."""

from __future__ import annotations

from adamss_core.spec.spec_model import Column, SpecModel


class TextColumn(SpecModel):
    text: Column = "text"
    """Column with the text."""


class LabelColumn(SpecModel):
    label: Column = "label"
    """Column with the class, the list of classes, or the number to predict."""
