"""Standing of a project: its decayed use of devices, divided by its weight, as a number that orders projects.

Use halves in `HALF_LIFE` seconds. Where all uses decay alike, their order does not change while time passes; so the
standing is log2 of (use / weight) plus the half-lives since `EPOCH`, which stays as it is until more is used, and
projects are compared without a clock. A project that has used nothing has a standing of 0, which stands for less than a
microsecond.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from service.shared.database.tables import Project

HALF_LIFE = 7 * 86_400.0
EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
ENTRY_SECONDS = 10.0  # charged for each device at a start, so that many starts at once do not count as none
DEFAULT_WEIGHT = 1.0


def charged(standing: float, used: float, weight: float, moment: datetime) -> float:
    """Return the standing after a use of device seconds."""
    now = _half_lives(moment)
    return math.log2(2.0 ** (standing - now) + used / weight) + now


def decayed_use(standing: float, weight: float, moment: datetime) -> float:
    """Return the device seconds that a standing means at a moment."""
    return float(2.0 ** (standing - _half_lives(moment)) * weight)


def charge(project: Project, used: float, moment: datetime) -> None:
    """Add a use of device seconds to a project, whose row is locked."""
    project.standing = charged(project.standing, used, project.weight, moment)


def reweigh(project: Project, weight: float) -> None:
    """Give a project another weight; what it has used counts by the new one."""
    project.standing = max(0.0, project.standing + math.log2(project.weight) - math.log2(weight))
    project.weight = weight


def _half_lives(moment: datetime) -> float:
    return (moment - EPOCH).total_seconds() / HALF_LIFE
