from __future__ import annotations

import re
from pathlib import Path

from tests import scheduling

ROOT = Path(__file__).parents[1]


def test_files_of_a_group_are_one_unit_and_others_their_own() -> None:
    for group, files in scheduling.TOGETHER.items():
        assert {scheduling.unit(f"{file}::test_a[b]") for file in files} == {group}
    assert scheduling.unit("tests/service/test_api.py::test_a[x::y]") == "tests/service/test_api.py"


def test_named_files_exist() -> None:
    files = {file for group in scheduling.TOGETHER.values() for file in group}
    named = {name for name in scheduling.FIRST if name not in scheduling.TOGETHER}
    assert [name for name in files | named if not (ROOT / name).is_file()] == []
    assert [folder for folder in scheduling.SLOW if not (ROOT / folder).is_dir()] == []


def test_every_file_that_uses_the_shared_service_is_in_its_group() -> None:
    """Else it would start a second service, and train a second job."""
    grouped = {file for files in scheduling.TOGETHER.values() for file in files}
    for folder in ("browser", "e2e"):
        for path in (ROOT / "tests" / folder).glob("test_*.py"):
            uses_service = re.search(r"\b(up: Up|tab: Tab)\b", path.read_text()) is not None
            assert (path.relative_to(ROOT).as_posix() in grouped) == uses_service, path.name


def test_longest_units_come_first() -> None:
    assert scheduling.place("tests/e2e/test_cli.py::test_a") == scheduling.place("tests/e2e/test_predict.py::test_b")
    assert scheduling.place("tests/browser/test_page.py::test_a") < scheduling.place(
        "tests/worker/test_main.py::test_a"
    )
    assert scheduling.place("tests/test_other.py::test_a") == len(scheduling.FIRST)
