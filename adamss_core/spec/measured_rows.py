"""Say what the rows that a model is measured on leave open: before a run in its plan, and afterwards in its result."""

from __future__ import annotations

from collections.abc import Collection

FEW_MEASURED = 20  # right on all of fewer rows, a model may be wrong on one in six of others (Wilson's interval)
FEW_HELD_OUT_ROWS = "few_held_out_rows"
NOT_EVALUATED, NOT_TRAINED_ON, UNKNOWN_LABELS = "classes_not_evaluated", "classes_not_trained_on", "unknown_labels"
NAMED = 5  # classes
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


def classes_not_evaluated(classes: Collection[str], evaluated: Collection[str], field: str) -> str | None:
    """Return which classes a result says nothing of; None where each has a row."""
    missing = sorted(set(classes) - set(evaluated))
    if not missing:
        return None
    return f"No row of {_named(missing)} is evaluated, so the result says nothing of {_it(missing)}. {_remedy(field)}"


def classes_not_trained_on(trained: Collection[str], evaluated: Collection[str], group: str | None) -> str | None:
    """Return which classes are evaluated but cannot be learnt; None where each is trained on.

    Args:
        group: the column whose values are held out as a whole, if any.
    """
    missing = sorted(set(evaluated) - set(trained))
    if not missing:
        return None
    remedy = (
        f"Add rows of {_it(missing)}."
        if group is None
        else f"Whole groups of '{group}' are held out: name another column as dataset.group, or data as dataset.eval."
    )
    return f"No row of {_named(missing)} is trained on, but some are evaluated, which lowers the result. {remedy}"


def rows_of_unknown_labels(rows: int, labels: Collection[str], which: str) -> str:
    """Say that rows are not evaluated because of these labels.

    Args:
        which: rows, in words, such as "test".
    """
    left_out = f"{rows:,} {which} {'row is' if rows == 1 else 'rows are'} left out"
    return (
        f"{left_out}: labels that the training data do not have ({_named(sorted(labels))}). Add training rows with "
        "them, or correct the labels."
    )


def _named(names: list[str]) -> str:
    shown = ", ".join(f"'{name[:60]}'" for name in names[:NAMED])
    return shown + (f" and {len(names) - NAMED} more classes" if len(names) > NAMED else "")


def _it(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


def counted(rows: int) -> str:
    """Return such as `1 row is` or `7 rows are`."""
    return f"{rows:,} {'row is' if rows == 1 else 'rows are'}"


def _remedy(field: str) -> str:
    if field == FIELDS["train"]:
        return f"Raise {field}, add rows, or name evaluation data as dataset.eval."
    return f"Name a data set with more rows as {field}."
