"""What is said at the end of a test run."""

from __future__ import annotations

import pytest

from tests.browser import chromium


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests that a machine cannot run must not go unnoticed."""
    left_out = [report for report in terminalreporter.stats.get("skipped", ()) if "tests/browser/" in report.nodeid]
    if left_out and chromium.find() is None:
        terminalreporter.section("THE PAGE WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.write_line(f"{len(left_out)} tests were left out: {chromium.MISSING}.", red=True, bold=True)
