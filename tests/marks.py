"""Marks of single cases."""

from __future__ import annotations

from typing import Any

import pytest


def compat(*values: Any) -> Any:
    """A case of a long matrix: `make compat` runs it, `make test` runs others of the same matrix."""
    return pytest.param(*values, marks=pytest.mark.compat)
