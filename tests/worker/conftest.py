from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.conftest import migrated_postgres, migrated_postgres_url, postgres, postgres_url  # noqa: F401 - fixtures
from tests.worker.redis_server import RedisServer
from tests.worker.support import Service, scaled_settings


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(scaled_settings(tmp_path / "home"))
    yield service
    service.db.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()
