"""What is refused at the start, before it can do harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from service.http.app import create_app, start
from service.shared.errors import StartRefused
from service.shared.settings import Settings
from tests.service.support import BASE_URL


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_key_is_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: str) -> None:
    """As by a variable of the shell that is not set.

    Before: the service started for everybody, and an empty form signed in as admin.
    """
    monkeypatch.setenv("ADAMSS_API_KEY", empty)
    settings = Settings(home=tmp_path / "open", host="0.0.0.0")
    assert settings.api_key is None
    with pytest.raises(StartRefused):
        start(settings)
    with TestClient(create_app(Settings(home=tmp_path / "own")), base_url=BASE_URL) as client:
        assert client.post("/signin", data={"key": empty}).status_code == 401
        assert client.get("/jobs", headers={"authorization": f"Bearer {empty}"}).status_code == 401


def test_a_lease_outlives_heartbeats(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="ADAMSS_HEARTBEAT_SECONDS"):
        Settings(home=tmp_path, lease_seconds=10)
    assert Settings(home=tmp_path, lease_seconds=10, heartbeat_seconds=5).lease_seconds == 10
