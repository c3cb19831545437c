"""What signs a browser in, on SQLite and on PostgreSQL: links and sessions end, each when it should."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import select

from service.http.app import create_app
from service.http.gate.access import cookie_name
from service.http.gate.origin import PAGE_HEADER
from service.keys import sessions
from service.keys.service import list_keys, own_key, revoke_key
from service.shared.database.engine import Database
from service.shared.database.tables import SignIn, now
from service.shared.errors import NotFound
from service.shared.settings import Settings
from tests.service.support import BASE_URL, Service, error_of

PAGE = {"accept": "text/html,*/*;q=0.8"}
FROM_PAGE = {"origin": BASE_URL, PAGE_HEADER: "test"}


def link_of(service: Service) -> str:
    with service.db.write() as session:
        link = sessions.make_link(session, service.settings)
    assert link is not None
    return link.removeprefix(BASE_URL)


def follow(browser: TestClient, link: str, **headers: str) -> Any:
    """Opens a link, and sends on what its page sends by itself."""
    page = browser.get(link, headers=PAGE)
    assert page.status_code == 200
    assert '<form action="/signin" method="post">' in page.text
    return browser.post("/signin", data={"code": link.partition("code=")[2]}, headers=headers)


def browser_of(service: Service) -> TestClient:
    return TestClient(service.app, base_url=BASE_URL, follow_redirects=False)


def signed_in(service: Service) -> TestClient:
    browser = browser_of(service)
    assert follow(browser, link_of(service)).status_code == 303
    assert browser.get("/jobs").status_code == 200
    return browser


@contextmanager
def another_process(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url=BASE_URL, follow_redirects=False) as client:
        yield client


def test_a_link_leads_to_the_page_and_leaves_a_cookie_that_is_no_key(any_service: Service) -> None:
    browser = browser_of(any_service)
    response = follow(browser, link_of(any_service))
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"{cookie_name(any_service.settings)}=")
    for flag in ("HttpOnly", "SameSite=strict", "Path=/", "expires="):
        assert flag in cookie
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert browser.get("/docs").status_code == 200
    token = browser.cookies[cookie_name(any_service.settings)]
    assert token != own_key(any_service.settings)
    stranger = browser_of(any_service)
    assert stranger.get("/jobs", headers={"authorization": f"Bearer {token}"}).status_code == 401
    stranger.cookies.set(cookie_name(any_service.settings), own_key(any_service.settings) or "")
    refused = stranger.get("/jobs")  # nor is a key a session
    assert (refused.status_code, error_of(refused.json())["code"]) == (401, "session_ended")


def test_a_link_works_once_and_for_its_own_browser_again(any_service: Service) -> None:
    """Also after a restart, and at another process of the service."""
    link, unused = link_of(any_service), link_of(any_service)
    browser, other = browser_of(any_service), browser_of(any_service)
    assert follow(browser, link).status_code == 303
    assert follow(browser, link).headers["location"] == "/"
    refused = follow(other, link)
    assert (refused.status_code, error_of(refused.json())["code"]) == (401, "link_ended")
    page = follow(other, link, **PAGE)
    assert (page.status_code, "adamss link" in page.text) == (401, True)
    for wrong in ("/signin", "/signin?code=", f"/signin?token={own_key(any_service.settings)}"):
        assert other.get(wrong).status_code == 401
    assert follow(other, "/signin?code=wrong").status_code == 401
    with another_process(any_service.settings) as later:
        assert follow(later, unused).status_code == 303
        later.cookies.update(browser.cookies)
        assert later.get("/jobs").status_code == 200


def test_looking_at_a_link_does_not_use_it_up(any_service: Service) -> None:
    """A chat that shows what a link leads to, or a mail scanner, leaves it to its reader; it is told nothing of it."""
    link = link_of(any_service)
    for _ in range(2):
        assert "set-cookie" not in browser_of(any_service).get(link, headers=PAGE).headers
    assert follow(browser_of(any_service), link).status_code == 303
    assert "canary" not in browser_of(any_service).get("/signin?code=canary", headers=PAGE).text


def test_an_address_that_only_guesses_is_slowed_down(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, requests_per_minute=5)
    with another_process(settings) as guesser:
        answers = [guesser.post("/signin", data={name: "wrong"}) for name in ("key", "code") * 4]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 3
    assert int(answers[-1].headers["retry-after"]) > 0


def test_guesses_do_not_reach_the_databases_one_writer(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    guesser = browser_of(any_service)
    monkeypatch.setattr(Database, "write", None)
    assert [guesser.post("/signin", data={name: "wrong"}).status_code for name in ("key", "code")] == [401, 401]


def test_a_code_is_no_session_and_a_session_no_code(any_service: Service) -> None:
    browser, link = signed_in(any_service), link_of(any_service)
    name = cookie_name(any_service.settings)
    stranger = browser_of(any_service)
    assert follow(stranger, f"/signin?code={browser.cookies[name]}").status_code == 401
    stranger.cookies.set(name, link.partition("=")[2])
    assert stranger.get("/jobs").status_code == 401


def test_a_key_is_pasted(any_service: Service) -> None:
    browser = browser_of(any_service)
    page = browser.get("/", headers=PAGE)
    assert '<form action="/signin" method="post">' in page.text
    refused = browser.post("/signin", data={"key": "wrong"}, headers=PAGE)
    assert (refused.status_code, "The key is not valid" in refused.text) == (401, True)
    for form in ({}, {"key": ""}, {"key": "\0"}, {"token": own_key(any_service.settings) or ""}):
        assert browser.post("/signin", data=form).status_code == 401
    foreign = browser.post("/signin", data={"key": "x"}, headers={"origin": "http://evil.example"})
    assert (foreign.status_code, error_of(foreign.json())["code"]) == (403, "foreign_origin")
    answer = browser.post("/signin", data={"key": f" {own_key(any_service.settings)}\n"}, headers={"origin": BASE_URL})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert browser.get("/", headers=PAGE).status_code == 200


def test_signing_out_ends_one_session(any_service: Service) -> None:
    """Also where its cookie was copied before; another browser, and the key, go on."""
    browser, other = signed_in(any_service), signed_in(any_service)
    copy = browser_of(any_service)
    copy.cookies.update(browser.cookies)
    assert copy.get("/jobs").status_code == 200
    assert browser.post("/signout").status_code == 403  # not from a page of ours
    answer = browser.post("/signout", headers=FROM_PAGE)
    assert answer.status_code == 204
    assert cookie_name(any_service.settings) not in browser.cookies
    refused = copy.get("/jobs")
    assert (refused.status_code, error_of(refused.json())["code"]) == (401, "session_ended")
    assert other.get("/jobs").status_code == 200
    assert any_service.client.get("/jobs").status_code == 200
    assert any_service.client.post("/signout").status_code == 204  # with a key there is nothing to end


def test_sessions_and_links_end_with_their_key(any_service: Service) -> None:
    browser, link = signed_in(any_service), link_of(any_service)
    with any_service.db.write() as session:
        (info,) = list_keys(session)
        revoke_key(session, info.id)
    assert browser.get("/jobs").status_code == 401
    assert follow(browser_of(any_service), link).status_code == 401
    with any_service.db.write() as session, pytest.raises(NotFound, match="adamss keys create"):
        sessions.make_link(session, any_service.settings)


def test_sessions_end_with_a_configured_key(any_service: Service) -> None:
    """Which has no row: the service is started with another one."""
    one, other = (
        any_service.settings.model_copy(update={"api_key": SecretStr(key)}) for key in ("first-key", "second-key")
    )
    with another_process(one) as browser:
        assert browser.post("/signin", data={"key": "first-key"}).status_code == 303
        assert browser.get("/jobs").status_code == 200
        with another_process(other) as later:
            later.cookies.update(browser.cookies)
            assert later.get("/jobs").status_code == 401


def test_sessions_and_links_expire(any_service: Service) -> None:
    browser, link = signed_in(any_service), link_of(any_service)
    with any_service.db.write() as session:
        kept = session.scalars(select(SignIn)).all()
        assert sorted(row.is_link for row in kept) == [False, True]
        for row in kept:
            assert row.expires_at - row.created_at < timedelta(days=sessions.SESSION_DAYS, minutes=1)
            row.expires_at = now()
    assert browser.get("/jobs").status_code == 401
    assert follow(browser_of(any_service), link).status_code == 401
    link_of(any_service)
    with any_service.db.read() as session:
        assert len(session.scalars(select(SignIn)).all()) == 1  # what has expired is removed


def test_old_sessions_make_room(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_PER_KEY", 3)
    browsers = [signed_in(any_service) for _ in range(5)]
    assert [browser.get("/jobs").status_code for browser in browsers] == [401, 401, 200, 200, 200]
