"""The one seam to a store of files outside the home folder: S3, Google, Azure, or a shared folder, through obstore.

A key is written once and never changed. A file that was put is whole or absent; one that is fetched has the size and
sha256 that its row names.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from service.shared.storage.content import pieces, size_of
from service.shared.storage.store_errors import StorageMisconfigured, StoredFileDamaged, StoredFileGone, translated

PART = 8 << 20  # bytes sent or fetched in one request
PARTS = 4  # sent at a time; with PART the bound of the memory that a transfer takes
RETRY = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=5), "base": 2},
}
TIMES = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=120)}  # of one request
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_FAILURES = (BaseError, OSError, ValueError)


@dataclass(frozen=True)
class StoredContent:
    """What a put has written: the object's key, and its bytes' number and sha256."""

    key: str
    size_bytes: int
    sha256: str
    is_folder: bool = False


@dataclass(frozen=True)
class ListedObject:
    """An object of a listing."""

    key: str
    size_bytes: int
    modified: datetime


class ObjectStore:
    """Objects below one URL.

    Args:
        url: s3://bucket/prefix, gs://…, az://account/container/prefix, or file:///folder.

    Raises:
        StorageMisconfigured: the URL or the variables beside it cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._folder = _folder(url)
        self._store = _opened(url, self._folder)

    def put(self, path: Path, prefix: str, alive: Callable[[], object] = lambda: None) -> StoredContent:
        """Write a file or folder under a key that nothing had before; return the key and the sha256 of what was sent.

        Args:
            alive: called for each piece that is sent.

        Raises:
            StorageUnavailable: nothing is visible under the key.
        """
        key = f"{prefix}/{path.name}-{secrets.token_hex(8)}"
        digest, size = hashlib.sha256(), size_of(path)

        def hashed() -> Iterator[bytes]:
            for piece in pieces(path):
                digest.update(piece)
                alive()
                yield piece

        try:
            if size <= PART:
                self._create(key, b"".join(hashed()))
            else:  # no store takes parts on a condition: the random key alone keeps them apart
                obstore.put(self._store, key, hashed(), use_multipart=True, chunk_size=PART, max_concurrency=PARTS)
        except _FAILURES as error:
            raise translated(error, self.url) from error
        return StoredContent(key, size, digest.hexdigest(), path.is_dir())

    def put_bytes(self, data: bytes, key: str) -> StoredContent:
        """Write bytes under a key; an object that is there already stays as it is."""
        try:
            self._create(key, data)
        except _FAILURES as error:
            raise translated(error, self.url) from error
        return StoredContent(key, len(data), hashlib.sha256(data).hexdigest())

    def _create(self, key: str, data: bytes) -> None:
        try:
            obstore.put(self._store, key, data, mode="create")
        except AlreadyExistsError:  # of a try whose answer was lost; obstore calls every conflict so, a quota's too
            try:
                obstore.head(self._store, key)
            except FileNotFoundError:
                pass
            else:
                return
            raise

    def read(self, key: str, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of a range, of which `end` is the first one after it, a part at a time.

        Raises:
            StoredFileGone: no such object exists.
            StorageUnavailable: the store does not answer, or refuses.
        """
        while begin < end:
            until = min(begin + PART, end)
            try:
                part = bytes(obstore.get_range(self._store, key, start=begin, end=until))
            except FileNotFoundError as error:
                raise StoredFileGone(key) from error
            except _FAILURES as error:
                raise translated(error, self.url) from error
            if len(part) != until - begin:
                raise StoredFileDamaged(key)
            yield part
            begin = until

    def fetch(self, content: StoredContent, partial: Path) -> None:
        """Fetch an object into a file, from where an earlier try ended; the file is complete and verified afterwards.

        Raises:
            StoredFileDamaged: the object is not what was put; the file is removed.
            StoredFileGone, StorageUnavailable: see `read`; the file stays, for another try.
        """
        have = partial.stat().st_size if partial.exists() else 0
        with partial.open("ab") as file:
            for part in self.read(content.key, min(have, content.size_bytes), content.size_bytes):
                file.write(part)
        with partial.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != content.sha256:
            partial.unlink()
            raise StoredFileDamaged(content.key)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        if self._folder is not None:
            for key in keys:
                (self._folder / key).unlink(missing_ok=True)  # obstore's store of a folder refuses what is gone
        elif keys:
            try:
                obstore.delete(self._store, list(keys))
            except FileNotFoundError:
                pass
            except _FAILURES as error:
                raise translated(error, self.url) from error

    def list(self, prefix: str) -> Iterator[ListedObject]:
        """Yield the objects below a prefix."""
        try:
            for batch in obstore.list(self._store, prefix or None):
                for found in batch:
                    yield ListedObject(found["path"], found["size"], found["last_modified"])
        except _FAILURES as error:
            raise translated(error, self.url) from error

    def sign(self, key: str, seconds: float) -> str | None:
        """Return an address from which anybody may read an object for a time; None where the store has no such."""
        if isinstance(self._store, LocalStore):
            return None
        try:
            return obstore.sign(self._store, "GET", key, timedelta(seconds=seconds))
        except _FAILURES as error:
            raise translated(error, self.url) from error

    def read_text(self, key: str) -> str | None:
        """Return a small object as text; None if it does not exist."""
        try:
            return bytes(obstore.get(self._store, key).bytes()).decode()
        except FileNotFoundError:
            return None
        except _FAILURES as error:
            raise translated(error, self.url) from error

    def try_out(self) -> None:
        """Write, read and delete an object: each right that the service needs.

        Raises:
            StorageMisconfigured: the store refuses; the message has the remedy.
            StorageUnavailable: the store does not answer.
        """
        key, data = f"tried/{secrets.token_hex(8)}", secrets.token_bytes(16)
        self.put_bytes(data, key)
        if b"".join(self.read(key, 0, len(data))) != data:
            raise StorageMisconfigured(f"{self.url} returns other bytes than were written.", "Look at the store.")
        next(iter(self.list("tried")), None)
        self.delete([key])


def _folder(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(parts.path) if parts.scheme == "file" else None


def _opened(url: str, folder: Path | None) -> S3Store | GCSStore | AzureStore | LocalStore:
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            return LocalStore(prefix=folder)
        options: dict[str, Any] = {"client_options": _client_options(), "retry_config": RETRY}
        opened = obstore.store.from_url(url, **options)
    except _FAILURES as error:
        remedy = "Write a bucket (and a prefix, if you like) into it; credentials stand in the store's own variables."
        raise StorageMisconfigured(f"ADAMSS_STORAGE_URL cannot be used: {_first_line(error)}", remedy) from error
    assert isinstance(opened, S3Store | GCSStore | AzureStore)
    return opened


def _client_options() -> dict[str, Any]:
    """Allow plain HTTP only to an endpoint that the operator has named with it, such as a server beside the service."""
    plain = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
    return {**TIMES, "allow_http": plain}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
