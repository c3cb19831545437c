"""Sign-in links, valid once, and browser sessions, whose token is in a cookie. Neither contains a key.

Only hashes are stored, together with the hash of the key: a session or link is valid only as long as its key.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service.keys import repository
from service.keys.service import (
    DEFAULT_PROJECT,
    Identity,
    digest_of,
    ensure_project,
    identify,
    identify_digest,
    own_key,
)
from service.shared.database.tables import SignIn, now
from service.shared.errors import NotFound
from service.shared.settings import Settings

TOKEN_BYTES = 32
LINK_HOURS = 12
SESSION_DAYS = 30
MAX_PER_KEY = 50  # sessions and unused links


@dataclass(frozen=True)
class NewSession:
    """A new browser session: its token, expiry and identity."""

    token: str
    expires_at: datetime
    identity: Identity


def make_link(session: Session, settings: Settings) -> str | None:
    """Create a single-use sign-in link for this machine's user; None without a key.

    Raises:
        NotFound: the user's key is no longer valid.
    """
    key = own_key(settings)
    if key is None:
        return None
    ensure_project(session, DEFAULT_PROJECT)  # before the service's first start the project does not exist yet
    if identify(session, settings, key) is None:
        raise NotFound(
            "This user's key has expired, was revoked, or belongs to another database, so it cannot sign in. Create a "
            "key with `adamss keys create NAME`, and paste it into the sign-in page.",
            code="invalid_key",
        )
    code = _store(session, digest_of(key), now() + timedelta(hours=LINK_HOURS), is_link=True)
    return f"{settings.resolved_url}/signin?code={code}"


def is_link(session: Session, _: Settings, code: str) -> bool:
    """Tell whether `code` belongs to an unused link that has not expired."""
    return repository.find_sign_in(session, digest_of(code), is_link=True) is not None


def follow_link(session: Session, settings: Settings, code: str) -> NewSession | None:
    """Open a session by a link's code and use the code up; None if the code or its key is not valid."""
    link = repository.find_sign_in(session, digest_of(code), is_link=True)
    if link is None or not repository.end_sign_in(session, link.hash):  # another request was quicker
        return None
    return _open(session, settings, link.key_hash)


def sign_in(session: Session, settings: Settings, key: str) -> NewSession | None:
    """Open a session by a key; None if the key is not valid."""
    return _open(session, settings, digest_of(key))


def identify_session(session: Session, settings: Settings, token: str) -> Identity | None:
    """Return the identity behind a session token; None if the session or its key has ended."""
    browser = repository.find_sign_in(session, digest_of(token), is_link=False)
    return None if browser is None else identify_digest(session, settings, browser.key_hash)


def sign_out(session: Session, token: str) -> None:
    """End one browser's session; its key and other sessions stay valid."""
    repository.end_sign_in(session, digest_of(token))


def _open(session: Session, settings: Settings, key_hash: str) -> NewSession | None:
    identity = identify_digest(session, settings, key_hash)
    if identity is None:
        return None
    until = now() + timedelta(days=SESSION_DAYS)
    return NewSession(_store(session, key_hash, until, is_link=False), until, identity)


def _store(session: Session, key_hash: str, until: datetime, *, is_link: bool) -> str:
    """Store the hash of a new token and return the token; delete the key's oldest entries beyond MAX_PER_KEY."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    repository.drop_sign_ins(session, key_hash, keep=MAX_PER_KEY - 1)
    session.add(SignIn(hash=digest_of(token), key_hash=key_hash, is_link=is_link, created_at=now(), expires_at=until))
    session.flush()
    return token
