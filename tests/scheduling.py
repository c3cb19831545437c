"""The order in which the processes of a test run are handed their files.

Files are handed out whole, as by `--dist loadfile`, with two differences: files whose tests share a service of the
session go to one process together, which then starts one service and trains one job for all of them; and what takes
longest begins first, so that no process is left alone with a long file at the end.
"""

from __future__ import annotations

from typing import Any

import pytest

# By group: the files of a service that is started as a user would, with its finished jobs.
TOGETHER = {
    "browser": (
        "tests/browser/test_datasets.py",
        "tests/browser/test_job_page.py",
        "tests/browser/test_jobs_table.py",
        "tests/browser/test_notes.py",
        "tests/browser/test_notices.py",
        "tests/browser/test_page.py",
        "tests/browser/test_registry.py",
        "tests/browser/test_sign_in.py",
        "tests/browser/test_sweeps.py",
        "tests/browser/test_try_it.py",
        "tests/browser/test_views.py",
        "tests/browser/test_walks.py",
        "tests/browser/test_workers.py",
    ),
    "e2e": (
        "tests/e2e/test_cli.py",
        "tests/e2e/test_examples.py",
        "tests/e2e/test_openai.py",
        "tests/e2e/test_predict.py",
    ),
    # Its blocks train jobs of their own: one after another behind the others they would be the end of every run.
    "readme": ("tests/e2e/test_readme.py",),
}
# What takes more than 30 s, longest first; `pytest --durations=0` tells.
FIRST = (
    "browser",
    "readme",
    "e2e",
    "tests/worker/test_main.py",
    "tests/e2e/test_jobs.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_devices.py",
    "tests/security/test_files.py",
    "tests/faults/test_storage.py",
    "tests/worker/test_postgres_redis.py",
    "tests/faults/test_workers.py",
    "tests/e2e/test_up.py",
    "tests/faults/test_control.py",
    "tests/faults/test_submit.py",
    "tests/browser/test_benchmark.py",
    "tests/service/jobs/test_planning.py",
    "tests/security/test_wire.py",
    "tests/service/jobs/test_tasks.py",
    "tests/adamss_core/training/test_resume.py",
    "tests/service/jobs/test_reports.py",
)
# Folders whose tests start services, workers or browsers. Elsewhere a file says so itself, by `pytest.mark.slow`.
SLOW = ("tests/benchmarks/", "tests/browser/", "tests/e2e/", "tests/faults/", "tests/security/", "tests/worker/")
_GROUPS = {file: group for group, files in TOGETHER.items() for file in files}


def unit(nodeid: str) -> str:
    """The group or the file of a test; a process is handed all tests of a unit."""
    file = nodeid.split("::", 1)[0]
    return _GROUPS.get(file, file)


def place(nodeid: str) -> int:
    """The place of a test's unit in the order of the run."""
    name = unit(nodeid)
    return FIRST.index(name) if name in FIRST else len(FIRST)


def is_slow(nodeid: str) -> bool:
    """Whether `make unit` leaves a test out for its folder, or because it needs a PostgreSQL server."""
    return nodeid.startswith(SLOW) or "[postgresql" in nodeid


def scheduler(config: pytest.Config, log: Any) -> Any:
    """A scheduler of pytest-xdist that hands out units."""
    from xdist.scheduler import LoadScopeScheduling

    class Units(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    config.option.loadscopereorder = False  # else by the number of tests, which says little of how long they take
    return Units(config, log)
