"""What signs a browser in: a link that works once, and the token that its cookie holds. Neither is a key.

Only hashes are stored, beside the hash of the key that each stands for: whatever ends the key ends them too.
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
MOST_PER_KEY = 50  # browsers, and links that nobody has followed


@dataclass(frozen=True)
class NewSession:
    """What a browser gets, and until when."""

    token: str
    expires_at: datetime
    identity: Identity


def make_link(session: Session, settings: Settings) -> str | None:
    """A link that signs one browser in; None where this machine's user has no key.

    Raises:
        NotFound: the user's key is not valid any more.
    """
    key = own_key(settings)
    if key is None:
        return None
    ensure_project(session, DEFAULT_PROJECT)  # the service may never have been started
    if identify(session, settings, key) is None:
        raise NotFound(
            "This user's key has expired, was revoked, or is another database's, so it signs nobody in. Make a key "
            "with `adamss keys create NAME`, and paste it where the page asks for one.",
            code="invalid_key",
        )
    code = _store(session, digest_of(key), now() + timedelta(hours=LINK_HOURS), is_link=True)
    return f"{settings.resolved_url}/signin?code={code}"


def is_link(session: Session, _: Settings, code: str) -> bool:
    """Whether it is the code of a link that has not been used or expired."""
    return repository.find_sign_in(session, digest_of(code), is_link=True) is not None


def follow_link(session: Session, settings: Settings, code: str) -> NewSession | None:
    """Signs in by the code of a link, which is used up; None for one that is not valid, or not any more."""
    link = repository.find_sign_in(session, digest_of(code), is_link=True)
    if link is None or not repository.end_sign_in(session, link.hash):  # another request was quicker
        return None
    return _open(session, settings, link.key_hash)


def sign_in(session: Session, settings: Settings, key: str) -> NewSession | None:
    """Signs in by a key; None for one that is not valid."""
    return _open(session, settings, digest_of(key))


def identify_session(session: Session, settings: Settings, token: str) -> Identity | None:
    """Whose browser it is; None where the session has ended, or the key it stands for."""
    found = repository.find_sign_in(session, digest_of(token), is_link=False)
    return None if found is None else identify_digest(session, settings, found.key_hash)


def sign_out(session: Session, token: str) -> None:
    """Ends one browser's session; the key and other browsers go on."""
    repository.end_sign_in(session, digest_of(token))


def _open(session: Session, settings: Settings, key_hash: str) -> NewSession | None:
    identity = identify_digest(session, settings, key_hash)
    if identity is None:
        return None
    until = now() + timedelta(days=SESSION_DAYS)
    return NewSession(_store(session, key_hash, until, is_link=False), until, identity)


def _store(session: Session, key_hash: str, until: datetime, *, is_link: bool) -> str:
    """Makes room, keeps the hash, and returns what it is the hash of."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    repository.drop_sign_ins(session, key_hash, keep=MOST_PER_KEY - 1)
    session.add(SignIn(hash=digest_of(token), key_hash=key_hash, is_link=is_link, created_at=now(), expires_at=until))
    session.flush()
    return token
