"""Say what the rows that a model is measured on leave open: before a run in its plan, and afterwards in its result."""

from __future__ import annotations

FEW_MEASURED = 20  # right on all of fewer rows, a model may be wrong on one in six of others (Wilson's interval)
FEW_HELD_OUT_ROWS = "few_held_out_rows"
FIELDS = {"train": "dataset.eval_fraction", "eval": "dataset.eval", "test": "dataset.test"}  # of each kind of rows


def few_measured_rows(rows: int, field: str) -> str | None:
    """Return why so many rows do not tell a good model from a lucky one; None where they are enough.

    Args:
        field: that decides which rows are evaluated.
    """
    if rows >= FEW_MEASURED:
        return None
    return (
        f"Only {counted(rows)} evaluated, too few to tell a good model from a lucky one: have at least "
        f"{FEW_MEASURED}. {_remedy(field)}"
    )


def counted(rows: int) -> str:
    """Return such as `1 row is` or `7 rows are`."""
    return f"{rows:,} {'row is' if rows == 1 else 'rows are'}"


def _remedy(field: str) -> str:
    if field == FIELDS["train"]:
        return f"Raise {field}, add rows, or name evaluation data as dataset.eval."
    return f"Name a data set with more rows as {field}."
