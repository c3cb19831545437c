"""PEFT's tests are taken from what is given, or it is said why they cannot be run."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.peft_cases.plugin import expected_failures
from tests.peft_cases.source import CASES, SourceMissingError, unpack_cases


def checkout(folder: Path) -> Path:
    tests = folder / "peft-0.21.0" / "tests"
    tests.mkdir(parents=True)
    (tests / CASES).write_text("from .testing_common import TEST\n")
    (tests / "testing_common.py").write_text("TEST = 1\n")
    return tests.parent


@pytest.mark.parametrize("packed", [False, True])
def test_a_checkout_or_a_source_distribution_becomes_a_package(packed: bool, tmp_path: Path) -> None:
    source = checkout(tmp_path)
    if packed:
        with tarfile.open(tmp_path / "peft.tar.gz", "w:gz") as archive:
            archive.add(source, source.name)
        source = tmp_path / "peft.tar.gz"
    unpack_cases(str(source), tmp_path / "peft_tests")
    assert {path.name for path in (tmp_path / "peft_tests").iterdir()} == {"__init__.py", CASES, "testing_common.py"}


def test_a_source_without_the_tests_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match=rf"no tests/{CASES}: give a checkout"):
        unpack_cases(str(tmp_path), tmp_path / "peft_tests")
    (tmp_path / "peft.tar.gz").write_text("not an archive")
    with pytest.raises(SourceMissingError, match="no source distribution"):
        unpack_cases(str(tmp_path / "peft.tar.gz"), tmp_path / "peft_tests")


def test_few_cases_may_fail_each_with_a_reason() -> None:
    failures = expected_failures()
    assert len(failures) == 4
    assert all(failures.values())
