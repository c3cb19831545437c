"""Calibration of basis and trained rows: the training rows that it takes, and the share of the run that it costs."""

from __future__ import annotations

from dataclasses import dataclass

from adamss_core.spec.plan import Plan

MOST_ROWS = 256  # directions of MiniLM's inputs from 128 rows already catch within 0.3 points of what 256 catch
LEAST_ROWS = 32
ONE_ROW_IN = 25  # of those that the run trains on, so that a short run is not mostly calibration
# Time of a calibration row in that of a trained one, decompositions included, measured on MiniLM: a forward pass for
# inputs; for gradients one for the head, and one forward and back.
COST = {"inputs": 0.7, "gradient": 2.0}

EXACT = 1024  # a sum of (1024, 1024) takes 4 MiB in fp32
OVERSAMPLING = 64  # test vectors beyond two for each direction


@dataclass(frozen=True)
class CalibrationPlan:
    """Rows and cost of a calibration.

    Attributes:
        rows: training rows, chosen by the seed.
        share: of the time of the run's optimizer steps, about.
    """

    rows: int
    share: float


def plan_calibration(plan: Plan, train_rows: int, processes: int = 1) -> CalibrationPlan | None:
    """Return what the job's basis and its choice of rows take; None where neither is taken from training rows.

    Args:
        train_rows: rows to choose from, the held-out ones excluded.
        processes: data-parallel ones, each of which calibrates on all rows.
    """
    adamss = plan.spec.adamss
    if plan.spec.init_from is not None or not (adamss.needs_gradients or adamss.basis == "inputs"):
        return None
    trained = train_rows * plan.total_steps / plan.steps_per_epoch / processes  # by each process, over all epochs
    rows = min(train_rows, MOST_ROWS, max(LEAST_ROWS, int(trained / ONE_ROW_IN)))
    return CalibrationPlan(rows, COST["gradient" if adamss.needs_gradients else "inputs"] * rows / trained)


def sketch_width(n: int, r: int) -> int:
    """Return the columns that are kept of a sum with n, for r leading directions; see `adamss_core.basis_sketch`."""
    width = 2 * r + OVERSAMPLING
    return n if n <= max(EXACT, width) else width
