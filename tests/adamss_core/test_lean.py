from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SHOW = """
import json, sys, peft
loaded = [name for name in ("bitsandbytes", "torch._inductor.compile_fx") if sys.modules.get(name)]
print(json.dumps([__name__, sys.argv[1:], loaded]))
"""


@pytest.mark.compat
@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_module_runs_as_main_with_its_arguments_and_without_bitsandbytes(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(SHOW)
    done = subprocess.run(
        [sys.executable, "-m", "adamss_core.lean", "shown", "--option", "value"],
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout) == ["__main__", ["--option", "value"], []]
    assert "gemm" not in done.stdout + done.stderr
