"""Objects in a real S3 server, and in a folder that hosts share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from service.shared.storage.content import digest_of, put_in_place, size_of
from service.shared.storage.object_store import PART, ObjectStore
from service.shared.storage.store_errors import (
    StorageMisconfigured,
    StorageUnavailable,
    StoredFileDamaged,
    StoredFileGone,
)
from tests.object_server import OWNER, READER, ObjectServer

pytestmark = pytest.mark.slow  # starts a server


@pytest.fixture(params=["s3", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "s3":
        return ObjectStore(request.getfixturevalue("store_url"))
    return ObjectStore(f"file://{tmp_path}/shared")


def images(folder: Path) -> Path:
    (folder / "more").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"1" * 100)
    (folder / "more" / ("b" * 120)).write_bytes(os.urandom(PART + 5))  # a name too long for plain tar
    return folder


@pytest.mark.parametrize("size", [0, 5, PART + 1])
def test_a_file_comes_back_equal(store: ObjectStore, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "rows.jsonl", tmp_path / "fetched"
    source.write_bytes(os.urandom(size))
    content = store.put(source, "proj_a/ds_1")
    assert (content.size_bytes, content.sha256, content.is_folder) == (size, digest_of(source), False)
    store.fetch(content, target)
    assert target.read_bytes() == source.read_bytes()
    assert content.key.startswith("proj_a/ds_1/rows.jsonl-")


def test_a_folder_comes_back_equal(store: ObjectStore, tmp_path: Path) -> None:
    folder, partial, target = images(tmp_path / "ds_1"), tmp_path / "partial", tmp_path / "fetched" / "ds_1"
    content = store.put(folder, "p")
    assert content.is_folder
    assert content.size_bytes == size_of(folder)
    for _ in range(2):  # the second time in the place of the first
        store.fetch(content, partial)
        put_in_place(partial, target, is_folder=True)
    assert digest_of(target) == content.sha256
    assert sorted(path.name for path in target.parent.iterdir()) == ["ds_1"]


def test_a_fetch_goes_on_where_it_was_cut_off(store: ObjectStore, tmp_path: Path) -> None:
    source, partial = tmp_path / "rows", tmp_path / "partial"
    source.write_bytes(os.urandom(1000))
    content = store.put(source, "p")
    partial.write_bytes(source.read_bytes()[:600])
    store.fetch(content, partial)
    assert partial.read_bytes() == source.read_bytes()


def test_what_was_altered_is_never_handed_out(store: ObjectStore, tmp_path: Path) -> None:
    source, partial = tmp_path / "rows", tmp_path / "partial"
    source.write_bytes(b"right" * 200)
    content = store.put(source, "p")
    partial.write_bytes(b"wrong")
    with pytest.raises(StoredFileDamaged):
        store.fetch(content, partial)
    assert not partial.exists()
    store.fetch(content, partial)
    assert partial.read_bytes() == source.read_bytes()


def test_a_key_is_written_once(store: ObjectStore, tmp_path: Path) -> None:
    store.put_bytes(b"first", "home_id")
    store.put_bytes(b"second", "home_id")
    assert store.read_text("home_id") == "first"
    (tmp_path / "rows").write_bytes(b"x")
    assert store.put(tmp_path / "rows", "p").key != store.put(tmp_path / "rows", "p").key


def test_listing_and_deletion(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"12345")
    kept, gone = store.put(tmp_path / "rows", "a"), store.put(tmp_path / "rows", "b")
    assert {(one.key, one.size_bytes) for one in store.list("")} == {(kept.key, 5), (gone.key, 5)}
    for _ in range(2):
        store.delete([gone.key])
    assert [one.key for one in store.list("")] == [kept.key]
    with pytest.raises(StoredFileGone):
        store.fetch(gone, tmp_path / "partial")
    assert store.read_text("nothing") is None


def test_a_signed_address_needs_no_key(store_url: str, tmp_path: Path) -> None:
    store = ObjectStore(store_url)
    (tmp_path / "zip").write_bytes(b"0123456789")
    address = store.sign(store.put(tmp_path / "zip", "p").key, 60.0)
    assert address is not None
    assert httpx.get(address, headers={"range": "bytes=2-4"}).content == b"234"
    assert httpx.get(address.partition("?")[0]).status_code == 403


def test_a_store_that_may_be_used_is_tried_out(store: ObjectStore) -> None:
    store.try_out()
    assert list(store.list("")) == []


def refusal(url: str) -> str:
    with pytest.raises(StorageMisconfigured) as caught:
        ObjectStore(url).try_out()
    assert caught.value.code == "storage_unavailable"
    return str(caught.value)


def test_refusals_name_the_remedy(object_server: ObjectServer, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "the bucket does not exist" in refusal("s3://nobodys/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    assert "does not know the credentials" in refusal(store_url)
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), READER, strict=True):
        monkeypatch.setenv(name, value)
    words = refusal(store_url)
    assert "lack a right" in words
    assert not any(secret in words for secret in (*READER, *OWNER))


def test_a_folder_without_rights(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be used" in refusal(f"file://{tmp_path}/file/below")


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A server that gives one answer to everything."""
    given = {"status": "403", "code": "AccessDenied"}

    class Always(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body = f"<Error><Code>{given['code']}</Code></Error>".encode()
            self.send_response(int(given["status"]))
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Always)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    yield given
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("RequestTimeTooSkewed", "Set this machine's clock"),
        ("ExpiredToken", "the credentials have expired"),
        ("InvalidAccessKeyId", "Check the key and the secret"),
        ("AccessDenied", "Give the service's credentials the rights"),
    ],
)
def test_words_of_a_store(answer: dict[str, str], code: str, words: str) -> None:
    answer["code"] = code
    assert words in refusal("s3://bucket/x")


@pytest.mark.parametrize("status", ["403", "409"])
def test_a_full_store_may_have_room_later(answer: dict[str, str], status: str) -> None:
    answer |= {"code": "QuotaExceeded", "status": status}
    with pytest.raises(StorageUnavailable, match="is full") as caught:
        ObjectStore("s3://bucket/x").try_out()
    assert not isinstance(caught.value, StorageMisconfigured)
    assert caught.value.retry_after


def test_a_store_that_fails_says_so_itself(answer: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer |= {"code": "InternalError", "status": "500"}
    monkeypatch.setattr("service.shared.storage.object_store.RETRY", {"max_retries": 0})
    with pytest.raises(StorageUnavailable, match="fails with 500 Internal Server Error"):
        ObjectStore("s3://bucket/x").try_out()


def test_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch, store_url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("service.shared.storage.object_store.RETRY", {"max_retries": 0})
    with pytest.raises(StorageUnavailable, match="does not answer") as caught:
        list(ObjectStore(store_url).read("key", 0, 3))
    assert not isinstance(caught.value, StorageMisconfigured)
