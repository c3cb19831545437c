from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.base_models import inspection
from service.shared.settings import Settings
from tests.security.support import Target, target
from tests.service.support import build_model, copy_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny real model; copy it, do not change it."""
    return build_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_facts(tiny_model: Path) -> dict[str, Any]:
    return inspection.inspect(str(tiny_model), None, local=True)


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
