"""Files of two hosts with separate home folders, one database and one store."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import time
from typing import Any

import pytest

from service.shared.database.engine import Database
from service.shared.database.tables import StoredFile
from service.shared.settings import Settings
from service.shared.storage.home import Home
from service.shared.storage.host_files import HostFiles, open_host_files
from service.shared.storage.local_copies import IN_USE_SECONDS
from service.shared.storage.object_store import ObjectStore
from service.shared.storage.store_errors import FileOnItsWay, StorageUnavailable, StoredFileDamaged, StoredFileGone
from tests.databases import make_database
from tests.worker.support import wait_until

DATASET = "ds_1"


@dataclass
class Hosts:
    """Two hosts."""

    db: Database
    url: str
    root: Path

    def host(self, name: str, cache_bytes: int | None = None) -> tuple[Home, HostFiles]:
        home = Home(self.root / name)
        return home, HostFiles(home, self.db, ObjectStore(self.url), cache_bytes)

    def share(self, path: Path, files: HostFiles, owner: str = DATASET) -> None:
        content = files.put(path, f"proj_a/{owner}")
        with self.db.write() as session:
            files.record(session, path, content, owner)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    settings = Settings(home=tmp_path / "a")
    make_database(settings)
    db = Database(settings.resolved_database_url)
    yield Hosts(db, f"file://{tmp_path}/shared", tmp_path)
    db.close()


@pytest.fixture
def shared(hosts: Hosts) -> Hosts:
    """Rows and images of a data set, put by host a."""
    home, files = hosts.host("a")
    home.dataset_rows(DATASET).write_bytes(b'{"text": "good"}\n')
    home.dataset_images(DATASET).mkdir()
    (home.dataset_images(DATASET) / "one.png").write_bytes(b"png")
    for path in home.dataset(DATASET):
        hosts.share(path, files)
    return hosts


def test_a_host_fetches_what_it_lacks(shared: Hosts) -> None:
    home, files = shared.host("b")
    rows, images = files.dataset(DATASET)
    assert rows.is_relative_to(home.root)
    assert rows.read_bytes() == b'{"text": "good"}\n'
    assert (images / "one.png").read_bytes() == b"png"
    assert list(home.fetching.glob("[!l]*")) == []  # besides locks


class GatedStore(ObjectStore):
    """A store whose parts come once the gate is open."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.gate, self.reads = Event(), 0

    def read(self, key: str, begin: int, end: int) -> Iterator[bytes]:
        self.reads += 1
        assert self.gate.wait(60)
        yield from super().read(key, begin, end)


def test_a_request_is_told_that_a_file_is_on_its_way(shared: Hosts) -> None:
    home, store = Home(shared.root / "b"), GatedStore(shared.url)
    files = HostFiles(home, shared.db, store, patience=0.05)
    for _ in range(3):
        with pytest.raises(FileOnItsWay, match=r"A file of ds_1 is being fetched .* Try again in 5 s") as refused:
            files.local(home.dataset_rows(DATASET))
        assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "file_on_its_way", 5)
    store.gate.set()
    wait_until(lambda: home.dataset_rows(DATASET).exists())
    assert files.local(home.dataset_rows(DATASET)).read_bytes() == b'{"text": "good"}\n'
    assert store.reads == 1


def test_a_fetch_that_failed_is_tried_again(shared: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StorageUnavailable("away")

    home, store = Home(shared.root / "b"), GatedStore(shared.url)
    files = HostFiles(home, shared.db, store, patience=60.0)
    with monkeypatch.context() as away:
        away.setattr(store, "fetch", refuse)
        with pytest.raises(StorageUnavailable, match="away"):
            files.local(home.dataset_rows(DATASET))
    store.gate.set()
    assert files.local(home.dataset_rows(DATASET)).exists()


def test_a_file_that_the_store_does_not_know_is_left_as_it_is(shared: Hosts) -> None:
    home, files = shared.host("b")
    own = home.dataset_rows("ds_own")
    own.write_bytes(b"x")
    assert files.local(own).read_bytes() == b"x"
    assert not files.local(home.dataset_rows("ds_none")).exists()


def test_without_a_store_nothing_is_asked(tmp_path: Path) -> None:
    class Unused:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"the database was asked: {name}")

    unused: Any = Unused()
    files = open_host_files(Settings(home=tmp_path), unused)
    assert files.local(tmp_path / "datasets" / "x") == tmp_path / "datasets" / "x"
    assert files.put(tmp_path, "p") is None
    files.local_all([tmp_path])
    files.record(unused, tmp_path, None, DATASET)
    assert files.forget(unused, StoredFile.owner == DATASET) == []
    files.discard([])


@pytest.mark.parametrize("kind", ["rows", "images"])
def test_an_altered_copy_is_fetched_again(shared: Hosts, kind: str) -> None:
    home, files = shared.host("b")
    files.dataset(DATASET)
    path = home.dataset_rows(DATASET) if kind == "rows" else home.dataset_images(DATASET) / "one.png"
    right = path.read_bytes()
    path.write_bytes(b"f" * len(right))
    files.local_all(home.dataset(DATASET))
    assert path.read_bytes() == right


def test_a_copy_that_was_altered_before_this_process_is_found_out_at_its_first_use(shared: Hosts) -> None:
    home, files = shared.host("b")
    files.dataset(DATASET)
    home.dataset_rows(DATASET).write_bytes(b"altered")
    _, later = shared.host("b")
    assert later.dataset(DATASET)[0].read_bytes() == b'{"text": "good"}\n'


def test_copies_make_room_but_not_those_in_use(hosts: Hosts) -> None:
    home, files = hosts.host("a")
    for name in ("ds_1", "ds_2", "ds_3"):
        home.dataset_rows(name).write_bytes(b"x" * 100)
        hosts.share(home.dataset_rows(name), files, name)
    other, limited = hosts.host("b", cache_bytes=250)
    for name in ("ds_1", "ds_2"):
        limited.dataset(name)
    for copy in limited.copies.all():
        if copy.owner == "ds_1":
            os.utime(copy.note, (0, time() - IN_USE_SECONDS - 1))
    limited.dataset("ds_3")
    assert sorted(path.stem for path in other.datasets.glob("*.jsonl")) == ["ds_2", "ds_3"]
    assert limited.dataset("ds_1")[0].read_bytes() == b"x" * 100  # more than the limit: nothing else may go


def test_a_full_disk_makes_room_for_what_is_needed(shared: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    home, files = shared.host("b")
    files.dataset(DATASET)
    for copy in files.copies.all():
        os.utime(copy.note, (0, 0))
    source, own = shared.host("a")
    source.dataset_rows("ds_2").write_bytes(b"y")
    shared.share(source.dataset_rows("ds_2"), own, "ds_2")
    tries: list[int] = []
    fetch = ObjectStore.fetch

    def full_at_first(store: ObjectStore, content: Any, partial: Path) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "no space")
        fetch(store, content, partial)

    monkeypatch.setattr(ObjectStore, "fetch", full_at_first)
    assert files.dataset("ds_2")[0].read_bytes() == b"y"
    assert home.dataset(DATASET) == []


def test_a_damaged_object_is_never_handed_out(shared: Hosts) -> None:
    home, files = shared.host("b")
    (stored,) = (shared.root / "shared").rglob("*.jsonl-*")
    stored.write_bytes(b'{"text": "evil"}\n')
    with pytest.raises(StoredFileDamaged):
        files.dataset(DATASET)
    assert not home.dataset_rows(DATASET).exists()
    stored.unlink()
    with pytest.raises(StoredFileGone):
        files.dataset(DATASET)


def test_deleted_rows_take_their_objects_along(shared: Hosts) -> None:
    _, files = shared.host("b")
    with shared.db.write() as session:
        keys = files.forget(session, StoredFile.owner == DATASET)
    files.discard(keys)
    assert files.store is not None
    assert list(files.store.list("")) == []


def test_what_a_store_that_is_away_keeps_is_left_to_the_collector(
    shared: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, files = shared.host("b")

    def away(*_: object) -> None:
        raise StorageUnavailable("away")

    monkeypatch.setattr(ObjectStore, "delete", away)
    files.discard(["proj_a/key"])
