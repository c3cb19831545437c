from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.shared.settings import Settings
from tests.security.support import Target, target
from tests.service.support import copy_model


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="session")
def session_target(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, tiny_facts: dict[str, Any]
) -> Iterator[Target]:
    """One for all tests here that leave it as it was, in a folder `home` with nothing of ours beside it."""
    settings = Settings(home=tmp_path_factory.mktemp("service") / "home", requests_per_minute=0)
    copy_model(tiny_model, settings)
    with target(settings, tiny_facts) as made:
        yield made
