"""Which free devices a job gets."""

from __future__ import annotations

from service.shared.jobs.device_rows import DeviceState
from service.shared.jobs.states.fitting import Fit, Needs, choose, openings, suits

GB = 10**9
LARGE = DeviceState("cuda:0", "0", "h100", 80 * GB, 78 * GB)
SMALL = DeviceState("cuda:1", "1", "a10", 24 * GB, 22 * GB)
FREE = [LARGE, SMALL]


def test_the_least_memory_that_is_enough_over_all_kinds() -> None:
    assert choose(FREE, Needs(1, None, 5 * GB)) == [SMALL]
    assert choose(FREE, Needs(1, None, 30 * GB)) == [LARGE]
    assert choose(FREE, Needs(1)) == [LARGE]  # nothing is known of it
    assert choose(FREE, Needs(2, None, 5 * GB)) is None


def test_kept_devices_are_left_where_others_fit() -> None:
    """A worker with places for a job of two h100, of which one is busy still."""
    kept = Needs(2, "h100", 40 * GB)
    fit = Fit(openings([SMALL]), openings(FREE), ("job_large", 0), kept)
    assert suits(LARGE, kept)
    assert fit.devices_for(FREE, Needs(1)) == [SMALL]
    assert fit.devices_for(FREE, Needs(1, "h100")) == [LARGE]  # of a higher priority, or it would not have been found
    assert Fit(openings(FREE)).devices_for(FREE, Needs(1)) == [LARGE]
