from __future__ import annotations

from typing import Any

import pytest

from adamss_core.spec import plan_steps
from adamss_core.spec.calibration_plan import COST, CalibrationPlan, plan_calibration
from tests.adamss_core.training.support import job


def planned(
    basis: str, steps: int, rows: int = 5_120, batch: int = 32, share: float = 1, **fields: Any
) -> CalibrationPlan | None:
    training = {"max_steps": steps, "batch_size": batch}
    spec = job(adamss={"use_asa": False, "basis": basis, "row_share": share}, training=training, **fields)
    return plan_calibration(plan_steps(spec, rows), rows)


@pytest.mark.parametrize("batch", [8, 16, 32, 64])
@pytest.mark.parametrize(("basis", "most"), [("inputs", 0.04), ("gradient", 0.1)])
def test_a_run_of_200_steps_pays_little(basis: str, most: float, batch: int) -> None:
    plan = planned(basis, 200, batch=batch)
    assert plan is not None
    assert 64 <= plan.rows <= 256
    assert plan.share <= most


@pytest.mark.parametrize(
    ("steps", "rows", "taken"),
    [(10_000, 5_120, 256), (200, 5_120, 256), (100, 5_120, 128), (1, 96, 32), (100, 9, 9)],
)
def test_rows_are_limited_by_run_and_data(steps: int, rows: int, taken: int) -> None:
    plan = planned("inputs", steps, rows=rows)
    assert plan is not None
    assert plan.rows == taken
    assert plan.share == pytest.approx(COST["inputs"] * taken / (min(32, rows) * steps))


def test_a_choice_of_rows_costs_as_gradients_do() -> None:
    assert planned("gradient", 100) == planned("weights", 100, share=0.5) == planned("inputs", 100, share=0.5)


def test_no_calibration_for_the_weights_basis_or_another_adapters() -> None:
    assert planned("weights", 100) is None
    assert planned("inputs", 100, init_from="job_before12") is None
