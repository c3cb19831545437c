"""A tiny model and the facts about it, made once for all processes of a test run."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny real model; copy it, do not change it."""
    return _made_once(tmp_path_factory)[0]


@pytest.fixture(scope="session")
def tiny_facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The facts that the real inspection, a process of its own that loads torch, finds out about the tiny model."""
    return _made_once(tmp_path_factory)[1]


def _made_once(factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The first process to ask makes both; the others wait for its lock, then read them."""
    from service.base_models import inspection  # not for a run that needs neither
    from tests.processes import FORKSERVER
    from tests.service.support import build_model

    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    model, facts = shared / "tiny-model" / "tiny", shared / "tiny-model" / "facts.json"
    with (shared / "tiny-model.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not facts.exists():
            found = inspection.inspect(FORKSERVER, str(build_model(model)), None, local=True)
            facts.write_text(json.dumps(found))
    known: dict[str, Any] = json.loads(facts.read_text())
    return model, known
