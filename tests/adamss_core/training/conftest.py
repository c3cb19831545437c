"""Models and runs that several test files look at; made once, never changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adamss_core.training.run import run
from tests.adamss_core.training.support import FinishedRun, Recorder, build_model, job, request

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="session")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A whole run with all three artifacts."""
    asked = request(model, tmp_path_factory.mktemp("run"), spec=job(artifacts=["merged", "adapter", "lora"]))
    recorder = Recorder()
    return FinishedRun(asked, recorder, run(asked, recorder))
