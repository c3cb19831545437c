"""Run the cases: `python -m tests.peft_cases [SOURCE]`, in the environment that `make compat-peft` makes.

SOURCE is PEFT's checkout or source distribution; by default it is downloaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.peft_cases.source import CASES, SourceMissingError, unpack_cases

ROOT = Path(__file__).parents[2]
NO_CASES = 3  # exit status, beside pytest's own


def run_cases(folder: Path) -> int:
    """Run the AdaMSS cases of the unpacked tests in a process of their own; return pytest's exit status."""
    options = ["-k", "adamss", "-q", "--tb=short", "--disable-warnings", "-rX"]
    plugins = ["-p", "tests.peft_cases.plugin", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    # An empty configuration: neither ours nor PEFT's, which measures its coverage.
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", *plugins, *options, f"peft_tests/{CASES}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        try:
            unpack_cases(sys.argv[1] if len(sys.argv) > 1 else None, Path(name) / "peft_tests")
        except SourceMissingError as error:
            print(f"NOT RUN: PEFT's cases. {error}", file=sys.stderr)
            return NO_CASES
        return run_cases(Path(name))


if __name__ == "__main__":
    sys.exit(main())
