"""Rules on `dataset.test`, the data that a job looks at once, with the finished model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from adamss_core.spec import SpecProblem
from adamss_core.spec.cells import why_left_out
from adamss_core.spec.measured_rows import few_measured_rows, rows_of_unknown_labels
from adamss_core.spec.survey import Survey
from service.http.context import Caller
from service.jobs import checks
from service.jobs.case import Case, Rule
from service.jobs.row_survey import survey_rows

PARAM = "dataset.test"


def survey_test(caller: Caller, case: Case) -> Case:
    """Count the rows of the test data where their columns fit; the training rows are counted by then."""
    if case.test is None or test_columns_fit(case) or not case.training_rows.usable:
        return case
    labels = case.training_rows.labels
    known = frozenset(labels) if labels else None
    return replace(case, test_rows=survey_rows(caller.host_files, case.spec, case.test, known))


def test_exists(case: Case) -> SpecProblem | None:
    named = case.spec.dataset.test
    return checks.unknown_dataset(named, PARAM) if named is not None and case.test is None else None


def test_columns_fit(case: Case) -> list[SpecProblem]:
    return [] if case.test is None else checks.column_problems(case.spec, case.test, PARAM)


def test_rows_are_usable(case: Case) -> SpecProblem | None:
    if case.test is None or not case.training_rows.usable:
        return None
    return rows_problem(case.test_rows, PARAM)


def rows_problem(rows: Survey, param: str) -> SpecProblem | None:
    """Return why a model cannot be tested on these rows.

    Args:
        param: the field that names the data set.
    """
    if not rows.usable:
        return SpecProblem(
            param,
            f"No row of the test data can be used: {why_left_out(rows.left_out) or 'it is empty'}. Name a data set "
            "with the same columns as the training data.",
            "no_usable_rows",
        )
    if rows.unknown == rows.usable:
        message = "No label of the test data occurs in the training data. Name data with the same labels."
        return SpecProblem(param, message, "labels_differ")
    return None


TESTING_RULES: tuple[Rule, ...] = (test_exists, test_columns_fit, test_rows_are_usable)


def testing_warnings(rows: Survey, param: str, known: Collection[str]) -> list[str]:
    """Return what works but may surprise in the test data.

    Args:
        param: the field that names the data set.
        known: classes of the training data.
    """
    warnings = []
    if (count := rows.left_out.total()) > 0:
        warnings.append(f"{count} test rows are left out: {why_left_out(rows.left_out)}.")
    if rows.unknown:
        warnings.append(rows_of_unknown_labels(rows.unknown, rows.labels.keys() - set(known), "test"))
    if (few := few_measured_rows(rows.usable - rows.unknown, param)) is not None:
        warnings.append(few)
    return warnings
