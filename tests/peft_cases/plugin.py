"""Plugin of the child's pytest: put our tuner in the place of PEFT's, and expect the failures that are listed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import PeftType

from adamss_core.model import AdamssModel

LIST = Path(__file__).with_name("may_fail.toml")


def expected_failures() -> dict[str, str]:
    """Return the beginning of each listed case's name -> the reason why it fails."""
    groups = tomllib.loads(LIST.read_text())["group"]
    return {case: group["reason"] for group in groups for case in group["cases"]}


def pytest_configure() -> None:
    PEFT_TYPE_TO_TUNER_MAPPING[PeftType.ADAMSS] = AdamssModel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark listed cases; strictly, so that one that passes has to leave the list."""
    for case, reason in expected_failures().items():
        matching = [item for item in items if item.nodeid.partition("::")[2].startswith(case)]
        if not matching:
            raise pytest.UsageError(f"{LIST.name} lists a case that PEFT does not have: {case}")
        for item in matching:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
