"""Creation, identification and revocation of keys; only hashes are stored."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from service.keys import repository
from service.projects.repository import find_by_name
from service.projects.service import upload_limit
from service.shared.database.engine import Database
from service.shared.database.tables import ApiKey, Project, Role, now
from service.shared.errors import NotFound, StartRefused
from service.shared.ids import new_id
from service.shared.settings import Settings

PREFIX = "adamss_"
KEY_BYTES = 32
DEFAULT_PROJECT = "default"
DEFAULT_PROJECT_ID = "proj_default"
FIRST_KEY = "first start"
CONFIGURED_KEY_ID = "configured"


@dataclass(frozen=True)
class NewKey:
    """A new key with its secret, shown only once."""

    id: str
    name: str
    project: str
    role: Role
    expires_at: datetime | None
    key: str


@dataclass(frozen=True)
class KeyInfo:
    """A listed key, without its secret."""

    id: str
    name: str
    project: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class Identity:
    """Sender of a request: key, role and project."""

    key_id: str
    name: str
    role: Role
    project_id: str
    upload_bytes: int


def create_key(
    session: Session,
    name: str,
    project: str = DEFAULT_PROJECT,
    role: Role = Role.SUBMIT,
    lifetime: timedelta | None = None,
) -> NewKey:
    """Create a key, and its project if new."""
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    expires_at = None if lifetime is None else now() + lifetime
    record = _store(session, name, project, key, role, expires_at)
    return NewKey(id=record.id, name=name, project=project, role=role, expires_at=expires_at, key=key)


def list_keys(session: Session) -> list[KeyInfo]:
    return [
        KeyInfo(key.id, key.name, project, Role(key.role), key.created_at, key.expires_at, key.revoked_at)
        for key, project in repository.list_all(session)
    ]


def revoke_key(session: Session, key_id: str) -> str:
    """End a key's validity and return the id of its project; revoking twice changes nothing.

    Raises:
        NotFound: the key does not exist.
    """
    record = session.get(ApiKey, key_id)
    if record is None:
        raise NotFound(f"Key {key_id} does not exist. `adamss keys list` shows all keys.", code="key_not_found")
    record.revoked_at = record.revoked_at or now()
    return record.project_id


def identify(session: Session, settings: Settings, key: str) -> Identity | None:
    """Return the identity behind a key; None if the key is unknown, expired or revoked."""
    return identify_digest(session, settings, digest_of(key)) if key else None


def identify_digest(session: Session, settings: Settings, digest: str) -> Identity | None:
    """Return the identity behind a key's hash, the only part of the key in a browser's session."""
    if settings.api_key is not None and hmac.compare_digest(digest, digest_of(settings.api_key.get_secret_value())):
        project = session.get_one(Project, DEFAULT_PROJECT_ID)
        return _identity(settings, project, CONFIGURED_KEY_ID, "ADAMSS_API_KEY", Role.ADMIN)
    key_and_project = repository.find_by_hash(session, digest)
    if key_and_project is None:
        return None
    record, project = key_and_project
    expired = record.expires_at is not None and record.expires_at <= now()
    if expired or record.revoked_at is not None or not hmac.compare_digest(record.hash, digest):
        return None
    return _identity(settings, project, record.id, record.name, Role(record.role))


def digest_of(key: str) -> str:
    """Hash a key for storage. Keys are 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def prepare_access(settings: Settings, db: Database) -> None:
    """Create the default project, and on loopback a first key in the home folder; called at start-up.

    Raises:
        StartRefused: others could reach the service, and no key protects it.
    """
    with db.write() as session:
        ensure_project(session, DEFAULT_PROJECT)
        if settings.is_loopback:
            _ensure_first_key(session, settings)
        elif settings.api_key is None and not repository.any_active(session):
            raise StartRefused(
                f"Refusing to listen on {settings.host}, which others can reach, without a key. Make one with "
                "`adamss keys create`, set ADAMSS_API_KEY, or listen on 127.0.0.1."
            )


def own_key(settings: Settings) -> str | None:
    """Return the key of this machine's user: the configured key, else the key of the first start."""
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    try:
        return key_file(settings).read_text().strip() or None
    except OSError:
        return None


def key_file(settings: Settings) -> Path:
    """Return the file with the key of the first start."""
    return settings.files.api_key


def _ensure_first_key(session: Session, settings: Settings) -> None:
    path = key_file(settings)
    if path.exists():
        key = path.read_text().strip()
        if key and repository.find_by_hash(session, digest_of(key)) is None:
            _store(session, FIRST_KEY, DEFAULT_PROJECT, key, Role.ADMIN)  # the database is newer than the file
    elif settings.api_key is None and not repository.any_active(session):
        _write_private(path, create_key(session, FIRST_KEY, role=Role.ADMIN).key)


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")


def _identity(settings: Settings, project: Project, key_id: str, name: str, role: Role) -> Identity:
    return Identity(key_id, name, role, project.id, upload_limit(settings, project))


def _store(
    session: Session, name: str, project: str, key: str, role: Role, expires_at: datetime | None = None
) -> ApiKey:
    record = ApiKey(
        id=new_id("key"),
        project_id=ensure_project(session, project).id,
        name=name,
        hash=digest_of(key),
        role=role.value,
        created_at=now(),
        expires_at=expires_at,
        revoked_at=None,
    )
    session.add(record)
    session.flush()
    return record


def ensure_project(session: Session, name: str) -> Project:
    """Find a project by name, or create it."""
    project = find_by_name(session, name)
    if project is None:
        project_id = DEFAULT_PROJECT_ID if name == DEFAULT_PROJECT else new_id("proj")
        project = Project(id=project_id, name=name, created_at=now())
        session.add(project)
        session.flush()
    return project
