"""Nobody comes in without a key, from elsewhere, or to another project's things."""

from __future__ import annotations

import stat
from html import escape, unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.http.app import create_app
from service.http.gate.origin import PAGE_HEADER
from service.keys.service import create_key, key_file, own_key, prepare_access
from service.shared.database.engine import Database
from service.shared.database.migrate import upgrade
from service.shared.errors import StartRefused
from service.shared.settings import Settings
from tests.service.support import BASE_URL, Service, error_of, rows


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer adamss_", "Basic abc", "Bearer", "bearer  ", "Bearer \xff"])
def test_wrong_keys_are_refused(service: Service, header: str) -> None:
    response = service.client.get("/jobs", headers={b"authorization": header.encode("latin-1")})
    assert response.status_code == 401
    assert error_of(response.json())["type"] == "unauthorized"


def test_the_configured_key_belongs_to_the_default_project(settings: Settings) -> None:
    settings = settings.model_copy(update={"api_key": SecretStr("secret-of-mine")})
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        assert client.get("/jobs", headers={"authorization": "Bearer secret-of-mine"}).status_code == 200
    assert not key_file(settings).exists()


def test_the_first_start_makes_a_key_that_only_its_owner_reads(service: Service, settings: Settings) -> None:
    path = key_file(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = own_key(settings)
    assert key is not None
    assert key.startswith("adamss_")
    assert len(key) >= len("adamss_") + 43  # 256 bits
    stored = (settings.files.database).read_bytes() + Path(f"{settings.resolved_home}/adamss.db-wal").read_bytes()
    assert key.encode() not in stored


def test_a_revoked_key_ends_at_once(service: Service) -> None:
    from service.keys.service import list_keys, revoke_key

    with service.db.write() as session:
        (info,) = list_keys(session)
        revoke_key(session, info.id)
    assert service.client.get("/jobs").status_code == 401


def test_a_browser_without_a_key_is_asked_for_one(service: Service) -> None:
    browser = TestClient(service.app, base_url=BASE_URL, headers={"accept": "text/html,*/*;q=0.8"})
    page = browser.get("/")
    assert (page.status_code, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert 'action="/signin"' in page.text
    assert page.text.count("<script") == 1
    assert "This needs a key" in page.text
    assert error_of(browser.get("/jobs", headers={"accept": "*/*"}).json())["code"] == "key_missing"
    signed_in = browser.post("/signin", data={"key": own_key(service.settings)})  # what the form sends
    assert signed_in.url == f"{BASE_URL}/"
    assert signed_in.status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/nothing/here?a=1&b=%22", "/jobs/job_1"])
def test_a_browser_is_led_back_to_what_it_asked_for(service: Service, path: str) -> None:
    browser = TestClient(service.app, base_url=BASE_URL, headers={"accept": "text/html"}, follow_redirects=False)
    page = browser.get(path)
    assert page.status_code == 401
    back = unescape(page.text.partition('name="next" value="')[2].partition('"')[0])
    assert back == path
    refused = browser.post("/signin", data={"key": "wrong", "next": back})
    assert f'name="next" value="{escape(back)}"' in refused.text
    signed_in = browser.post("/signin", data={"key": own_key(service.settings), "next": back})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, path)


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "/\\evil.example", "/a\r\nset-cookie: a=b", "", "jobs"]
)
def test_nobody_is_led_to_another_host(service: Service, back: str) -> None:
    browser = TestClient(service.app, base_url=BASE_URL, follow_redirects=False)
    signed_in = browser.post("/signin", data={"key": own_key(service.settings), "next": back})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")


def test_a_change_by_cookie_must_come_from_our_own_pages(service: Service) -> None:
    browser = TestClient(service.app, base_url=BASE_URL)
    assert browser.post("/signin", data={"key": own_key(service.settings)}).status_code == 200
    files = {"file": ("a.csv", rows())}
    assert browser.post("/datasets", files=files, headers={"origin": BASE_URL}).status_code == 403
    browser.headers[PAGE_HEADER] = "test"
    assert browser.post("/datasets", files=files).status_code == 403
    foreign = browser.post("/datasets", files=files, headers={"origin": "http://evil.example"})
    assert (foreign.status_code, error_of(foreign.json())["code"]) == (403, "foreign_origin")
    assert browser.post("/datasets", files=files, headers={"origin": "null"}).status_code == 403
    assert browser.post("/datasets", files=files, headers={"origin": BASE_URL}).status_code == 201


@pytest.mark.parametrize("host", ["127.0.0.1:8642", "localhost:8642", "localhost", "[::1]:8642"])
def test_our_own_names_are_answered(service: Service, host: str) -> None:
    assert service.client.get("/jobs", headers={"host": host}).status_code == 200


def test_beyond_loopback_it_does_not_start_without_a_key(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, host="0.0.0.0")
    with pytest.raises(StartRefused, match="adamss keys create"), TestClient(create_app(settings)):
        pass
    assert not key_file(settings).exists()
    db = Database(settings.resolved_database_url)
    with db.write() as session:
        create_key(session, "first")
    prepare_access(settings, db)
    db.close()


def test_a_lost_database_learns_the_kept_key_again(settings: Settings, tmp_path: Path) -> None:
    for url in (None, f"sqlite:///{tmp_path / 'other.db'}"):
        current = settings.model_copy(update={"database_url": url})
        upgrade(current)
        db = Database(current.resolved_database_url)
        prepare_access(current, db)
        db.close()
        key = own_key(current)
        with TestClient(create_app(current), base_url=BASE_URL) as client:
            assert client.get("/jobs", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_another_project_sees_nothing(any_service: Service) -> None:
    job = any_service.submit()
    dataset = job["spec"]["dataset"]["train"]
    mine = any_service.client
    theirs = TestClient(any_service.app, base_url=BASE_URL)
    theirs.headers["authorization"] = f"Bearer {any_service.key_for('others')}"
    assert theirs.get("/jobs").json()["data"] == []
    assert theirs.get("/datasets").json()["data"] == []
    for path in (f"/jobs/{job['id']}", f"/jobs/{job['id']}/events", f"/datasets/{dataset}"):
        assert theirs.get(path).status_code == 404
    refused = theirs.post("/jobs", json=job["spec"])
    assert (refused.status_code, error_of(refused.json())["code"]) == (422, "unknown_dataset")
    assert mine.get(f"/jobs/{job['id']}").json()["status"] == "queued"
