"""Every file in `examples/` is run."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Up

SPECS = sorted((ROOT / "examples").glob("*.yaml"))
RUN_HERE = {"client.py", "train_adamss.py", "use_artifacts.py", "curl.sh"}
RUN_ELSEWHERE = {"demo.py", "demo_model.py", "__init__.py"}


def test_no_example_is_forgotten() -> None:
    files = {path.name for path in (ROOT / "examples").iterdir() if path.suffix in (".py", ".sh")}
    assert files == RUN_HERE | RUN_ELSEWHERE


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_specs_can_be_submitted(up: Up, spec: Path) -> None:
    data = ROOT / "examples" / "data" / "movie_reviews_demo.csv"
    result = up.adamss("jobs", "submit", str(spec), "--dataset", str(data), "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["estimate"]["steps"] > 100


@pytest.mark.compat
def test_client(up: Up, tmp_path: Path) -> None:
    result = up.run(sys.executable, "-m", "examples.client", str(up.rows), "out", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "out" / "lora" / "adapter_model.safetensors").is_file()


@pytest.mark.compat
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(up: Up, tmp_path: Path) -> None:
    environ = up.run("bash", str(ROOT / "examples" / "curl.sh"), str(up.rows), cwd=tmp_path)
    assert environ.returncode == 0, environ.stdout + environ.stderr
    assert len(list(tmp_path.glob("job_*-lora.zip"))) == 1
    assert "succeeded" in environ.stdout


@pytest.mark.compat  # tests/examples runs the same loop on a tiny model
def test_train_adamss(up: Up, tmp_path: Path) -> None:
    result = up.run(sys.executable, "-m", "examples.train_adamss", str(up.base), "out", "--rows=200", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "60 of 120 subspaces are left" in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter", "lora", "merged"}


@pytest.mark.compat  # the demo does the same with its own artifacts
def test_use_artifacts(up: Up, finished: str, tmp_path: Path) -> None:
    assert up.adamss("artifacts", "download", finished, "--to", str(tmp_path), "--extract").returncode == 0
    result = up.run(sys.executable, "-m", "examples.use_artifacts", str(up.base), str(tmp_path))
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines() if line.startswith("  ")]
    assert len(lines) == 9
    for start in range(0, 9, 3):  # one sentence, three ways
        assert len({line[0] for line in lines[start : start + 3]}) == 1
        assert max(float(line[1]) for line in lines[start : start + 3]) == pytest.approx(
            min(float(line[1]) for line in lines[start : start + 3]), abs=2e-4
        )
