"""The order of a test run, fixtures of all folders, and what is said at the end."""

from __future__ import annotations

import gc
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import scheduling
from tests.browser import chromium
from tests.object_server import BUCKET, ObjectServer
from tests.tiny import tiny_facts, tiny_model  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[1]
# The driver and not a statement of ours ended the test: a navigation was aborted, or a busy machine took too long.
DRIVER_GAVE_UP = pytest.mark.flaky(reruns=1, only_rerun=[r"playwright\._impl\._errors"])
# Each job's first plan would start a process of 5 CPU seconds; tests of token lengths ask for it.
os.environ["ADAMSS_LENGTH_SAMPLE"] = "0"

# The garbage collector takes a tenth of the suite otherwise, most of it for the modules of torch and transformers.
gc.set_threshold(20_000, 20, 100)


@pytest.fixture(autouse=True)
def own_umask() -> Iterator[None]:
    """Put the umask back: operators' commands narrow that of their process, which in a test is pytest's."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what is imported and collected by now, as it stays to the end."""
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`make unit` does not even import folders that it runs nothing of."""
    if "not slow" not in config.option.markexpr or not collection_path.is_dir():
        return None
    folder = collection_path.relative_to(ROOT).as_posix() if collection_path.is_relative_to(ROOT) else ""
    return scheduling.is_slow(f"{folder}/") or None


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first."""
    items.sort(key=lambda item: scheduling.place(item.nodeid))
    for item in items:
        if scheduling.is_slow(item.nodeid):
            item.add_marker(pytest.mark.slow)
        if item.nodeid.startswith("tests/browser/"):
            item.add_marker(DRIVER_GAVE_UP)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files that share a service go to one process."""
    return scheduling.scheduler(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tests that a machine cannot run must not go unnoticed."""
    left_out = [report for report in terminalreporter.stats.get("skipped", ()) if "tests/browser/" in report.nodeid]
    if left_out and chromium.find() is None:
        terminalreporter.section("THE PAGE WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.write_line(f"{len(left_out)} tests were left out: {chromium.MISSING}.", red=True, bold=True)


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """One server of objects for all tests of a process; each test has a prefix of its own."""
    server = ObjectServer(tmp_path_factory.mktemp("objects"))
    yield server
    server.close()


@pytest.fixture
def store_url(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of its own in a real S3 server, with the variables that lead there."""
    for name, value in object_server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{secrets.token_hex(6)}"
