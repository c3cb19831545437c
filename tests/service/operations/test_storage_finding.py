"""What `adamss doctor` says of the store of files."""

from __future__ import annotations

import pytest

from service.operations.doctor import Finding, examine
from service.shared.settings import Settings
from tests.object_server import OWNER

pytestmark = pytest.mark.slow  # starts a server of objects


def finding(settings: Settings) -> Finding | None:
    return next((one for one in examine(settings) if one.check == "storage"), None)


def test_the_store_of_files(settings: Settings, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.operations.doctor._devices", lambda: iter(()))  # starts a process with torch
    assert finding(settings) is None
    there = settings.model_copy(update={"storage_url": store_url})
    found = finding(there)
    assert found is not None
    assert (found.state, found.remedy) == ("ok", "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    found = finding(there)
    assert found is not None
    assert found.state == "problem"
    assert "does not know the credentials" in found.message
    assert "Check the key and the secret" in found.remedy
    assert not any(secret in f"{found}" for secret in (*OWNER, "wrong-secret"))
