from __future__ import annotations

from pathlib import Path

import pytest

from tests.adamss_core.training.support import build_model


@pytest.fixture(scope="session")
def still_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without dropout."""
    return build_model(tmp_path_factory.mktemp("still") / "model", dropout=0.0)
