"""Which tests run in one process, and what is said at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import chromium

# Each of these folders has one service with one finished job for all its files; they take longest, so they begin first.
TOGETHER = ("e2e", "browser")
ROOT = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files are handed out one by one to the processes of a run, those folders as one."""

    def group(item: pytest.Item) -> str:
        folder = item.path.relative_to(ROOT).parts[0]
        return folder if folder in TOGETHER else item.path.relative_to(ROOT).as_posix()

    items.sort(key=lambda item: group(item) not in TOGETHER)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests that a machine cannot run must not go unnoticed."""
    left_out = [report for report in terminalreporter.stats.get("skipped", ()) if "tests/browser/" in report.nodeid]
    if left_out and chromium.find() is None:
        terminalreporter.section("THE PAGE WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.write_line(f"{len(left_out)} tests were left out: {chromium.MISSING}.", red=True, bold=True)
