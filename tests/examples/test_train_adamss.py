"""The bare loop, in the test's own process: its imports would take longer than its training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.support import build_model

ROOT = Path(__file__).parents[2]


def test_train_adamss_prunes_and_saves_three_equal_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from examples.train_adamss import main

    base = build_model(tmp_path / "base")
    result = main(str(base), tmp_path / "out", rows=160, keep=12)
    assert result["active"] == 12
    assert result["difference"] < 1e-5
    assert 0 <= result["accuracy"] <= 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter", "lora", "merged"}
    shown = capsys.readouterr().out
    assert "step 8 of 8" in shown
    assert "12 of 40 subspaces are left" in shown


def test_train_adamss_needs_only_core_torch_and_transformers() -> None:
    """The example is read by people who have installed `adamss[core]` and nothing of the service."""
    source = (ROOT / "examples" / "train_adamss.py").read_text()
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    standard = {"__future__", "argparse", "csv", "pathlib", "typing"}
    assert imported - standard == {"adamss_core", "peft", "torch", "transformers"}
