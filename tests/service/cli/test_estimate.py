"""`adamss jobs submit --dry-run` shows the estimate and every warning."""

from __future__ import annotations

from typing import Any

import pytest

from service.cli.estimate import show_estimate

PLAN: dict[str, Any] = {
    "estimate": {
        "steps": 6,
        "device": "cpu",
        "memory_bytes": 1_500_000_000,
        "memory_phases": {"loading": 600_000_000, "training": 1_500_000_000, "verification": 900_000_000},
        "lengths": "measured",
        "seconds": 90.0,
        "lora_bias": False,
        "elements": {"peak": 6_144, "end": 3_072, "published": 3_072},
        "artifact_bytes": {"adapter": 2_000_000, "lora": None, "merged": None},
    },
    "warnings": ["one", "two"],
}


def test_every_number_of_the_estimate_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_estimate(PLAN, as_json=False)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {"memory 1.5 GB", "memory while training 1.5 GB", "lengths measured", "size of adapter 2.0 MB"} <= set(lines)
    assert "lora bias no" in lines
    assert "elements of A and B 6,144 at the start, at most 3,072 at the end, at most 3,072 published" in lines
    assert not any(line.startswith("cost") for line in lines)
    assert any(line.startswith("time 1") for line in lines)
    assert lines[-2:] == ["warning: one", "warning: two"]


def test_a_price_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_estimate({**PLAN, "cost": 0.125, "currency": "EUR"}, as_json=False)
    assert "cost 0.12 EUR" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_time_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    show_estimate({**PLAN, "estimate": {**PLAN["estimate"], "seconds": None}}, as_json=False)
    assert "time" not in capsys.readouterr().out


def test_memory_is_said_of_each_device(capsys: pytest.CaptureFixture[str]) -> None:
    more = {"devices": 2, "least_memory_bytes": 700_000_000, "enough_devices": 2}
    show_estimate({**PLAN, "estimate": {**PLAN["estimate"], **more}}, as_json=False)
    lines = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert {"devices 2", "memory of each device 1.5 GB", "memory with one row at a time 700.0 MB"} <= lines
    assert "fewest devices that suffice 2" in lines


def test_the_cost_of_a_basis_is_shown_where_it_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    phases = {**PLAN["estimate"]["memory_phases"], "calibration": None}
    for rows, share, shown in ((256, 0.028, True), (None, None, False)):
        more = {"calibration_rows": rows, "calibration_share": share, "memory_phases": phases}
        show_estimate({**PLAN, "estimate": {**PLAN["estimate"], **more}}, as_json=False)
        out = " ".join(capsys.readouterr().out.split())
        assert ("calibration 256 rows, about 2.8% of the time of all steps" in out) == shown
        assert ("calibration" in out) == shown


def test_classes_are_shown_with_their_rows(capsys: pytest.CaptureFixture[str]) -> None:
    show_estimate({**PLAN, "classes": {"neg": 1_200, "pos": 20}}, as_json=False)
    assert "classes 2: neg 1,200, pos 20" in " ".join(capsys.readouterr().out.split())
    show_estimate({**PLAN, "classes": {f"c{i}": 1 for i in range(12)}}, as_json=False)
    assert "classes 12: c0 1, c1 1" in (written := " ".join(capsys.readouterr().out.split()))
    assert "c9 1 and 2 more" in written
