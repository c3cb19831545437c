"""Obtain PEFT's tests: from its source distribution, or from a folder or archive that is at hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

CASES = "test_custom_models.py"


class SourceMissingError(Exception):
    """PEFT's tests cannot be had."""


def unpack_cases(source: str | None, target: Path) -> None:
    """Copy PEFT's test modules into a new package.

    Args:
        source: a checkout of PEFT, or its source distribution, packed or not; None downloads the distribution of the
            installed version.
        target: the package's folder; its name is not `tests`, which is ours.

    Raises:
        SourceMissingError: neither a download nor a source with the tests.
    """
    with tempfile.TemporaryDirectory() as name:
        given = _download(Path(name)) if source is None else Path(source)
        tests = _find_tests(_unpacked(given, Path(name) / "unpacked"))
        target.mkdir(parents=True)
        for module in tests.glob("*.py"):
            shutil.copy(module, target)
    (target / "__init__.py").touch()  # its modules import each other relatively


def _download(folder: Path) -> Path:
    wanted = f"peft=={version('peft')}"
    options = ["--no-binary", "peft", "--no-deps", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1] if errors else f"pip ended with {done.returncode}"
        raise SourceMissingError(
            f"The source distribution of {wanted} cannot be downloaded ({reason}). Give a checkout or a source "
            "distribution: make compat-peft PEFT_SOURCE=/path/to/peft."
        )
    return next(folder.glob("peft-*.tar.gz"))


def _unpacked(given: Path, folder: Path) -> Path:
    if not given.is_file():
        return given
    try:
        with tarfile.open(given) as archive:
            archive.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise SourceMissingError(f"{given} is no source distribution ({error}).") from error
    return folder


def _find_tests(folder: Path) -> Path:
    found = next((path.parent for path in folder.glob(f"**/tests/{CASES}")), None)
    if found is None:
        raise SourceMissingError(f"{folder} has no tests/{CASES}: give a checkout of PEFT or its source distribution.")
    return found
