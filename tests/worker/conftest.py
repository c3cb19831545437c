from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.worker.support import Service, scaled_settings


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(scaled_settings(tmp_path / "home"))
    yield service
    service.db.close()
