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


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/x", "must begin with s3://BUCKET"),
        ("s3://", "must begin with s3://BUCKET"),
        ("file://relative", "must begin with s3://BUCKET"),
        ("s3://AKID:secret@bucket/x", "must hold no credentials"),
        ("az://account/container?sig=secret", "must hold no credentials"),
    ],
)
def test_urls_of_no_store_are_refused(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        Settings(home=tmp_path, storage_url=url)
    assert "secret" not in str(caught.value)


def test_the_url_of_a_store(tmp_path: Path) -> None:
    assert Settings(home=tmp_path, storage_url="s3://bucket/prefix/").storage_url == "s3://bucket/prefix"
