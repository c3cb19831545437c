"""A service that listens on a port: a test client of the usual kind reads an answer to its end first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from service.cli.serve import free_port
from service.shared.settings import Settings
from tests.service.support import Service, copy_model, running


@pytest.fixture(params=["sqlite", "postgresql"])
def live(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path, tiny_facts: dict[str, Any]
) -> Iterator[Service]:
    settings = Settings(home=tmp_path / "home", port=free_port("127.0.0.1"))
    if request.param == "postgresql":
        settings = settings.model_copy(update={"database_url": request.getfixturevalue("migrated_postgres_url")})
    copy_model(tiny_model, settings)
    with running(settings, tiny_facts) as service:
        # A second server on the same app: its parts are open already.
        config = uvicorn.Config(service.app, port=settings.port, lifespan="off", log_level="error", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        yield service
        server.should_exit = server.force_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()
