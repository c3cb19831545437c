"""One home folder and one database: which two may start together, and what is left untouched where they may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert, inspect, select

from service.shared.database.engine import Database
from service.shared.database.migrate import upgrade
from service.shared.database.tables import Dataset, HomeId, Project, now
from service.shared.errors import StartRefused
from service.shared.settings import Settings
from service.shared.storage import pairing
from service.shared.storage.pairing import mismatch, open_database, read_id
from service.shared.storage.store_errors import StorageUnavailable

KNOWN, OTHER = "ds_aaaaaaaaaaaaaaaaaaaa", "ds_bbbbbbbbbbbbbbbbbbbb"


def opened(home: Path, database: Path) -> Settings:
    """Start on a home folder and a database, and end again."""
    settings = Settings(home=home, database_url=f"sqlite:///{database}")
    open_database(settings).close()
    return settings


def add_dataset(settings: Settings, dataset_id: str = KNOWN, *, file: bool = True) -> None:
    db = Database(settings.resolved_database_url)
    with db.write() as session:
        if session.execute(select(Project.id)).first() is None:  # by the columns that older schemas have too
            session.execute(insert(Project).values(id="proj", name="test", created_at=now()))
        values = {"id": dataset_id, "project_id": "proj", "name": "x", "format": "csv", "rows": 1, "size_bytes": 1}
        values |= {"sha256": "0" * 64, "profile": {}, "created_at": now()}
        session.execute(insert(Dataset).values(values))
    db.close()
    if file:
        settings.files.dataset_rows(dataset_id).write_text("{}\n")


def forget_ids(settings: Settings, *, home: bool = True, database: bool = True) -> None:
    """As before there were ids."""
    if home:
        settings.files.home_id.unlink()
    if database:
        db = Database(settings.resolved_database_url)
        with db.write() as session:
            session.query(HomeId).delete()
        db.close()


def test_two_that_are_new_get_one_id_and_keep_it(tmp_path: Path) -> None:
    settings = opened(tmp_path / "a", tmp_path / "a.db")
    first = read_id(settings.files)
    add_dataset(settings)
    assert first is not None
    assert len(first) == 32
    assert read_id(opened(tmp_path / "a", tmp_path / "a.db").files) == first


def test_databases_that_are_exchanged_are_refused_and_nothing_changes(tmp_path: Path) -> None:
    for name in "ab":
        add_dataset(opened(tmp_path / name, tmp_path / f"{name}.db"))
    ids = [read_id(Settings(home=tmp_path / name).files) for name in "ab"]
    with pytest.raises(StartRefused) as refused:
        opened(tmp_path / "a", tmp_path / "b.db")
    for part in (str(tmp_path / "a"), str(tmp_path / "b.db"), *map(str, ids), "ADAMSS_HOME", "ADAMSS_DATABASE_URL"):
        assert part in str(refused.value)
    assert [read_id(Settings(home=tmp_path / name).files) for name in "ab"] == ids
    assert opened(tmp_path / "b", tmp_path / "b.db")


def test_empty_or_missing_database_is_refused_on_a_home_with_data(tmp_path: Path) -> None:
    settings = opened(tmp_path / "a", tmp_path / "a.db")
    add_dataset(settings)
    missing = Settings(home=tmp_path / "a", database_url=f"sqlite:///{tmp_path / 'missing.db'}")
    with pytest.raises(StartRefused, match="do not belong together"):
        open_database(missing)
    assert not (tmp_path / "missing.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(StartRefused, match="do not belong together"):
        opened(tmp_path / "a", tmp_path / "empty.db")
    db = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    assert inspect(db.engine).get_table_names() == []  # not migrated
    db.close()


def test_empty_home_is_refused_by_a_database_with_data(tmp_path: Path) -> None:
    """As where a disk is not mounted."""
    add_dataset(opened(tmp_path / "a", tmp_path / "a.db"))
    with pytest.raises(StartRefused, match="mount"):
        opened(tmp_path / "unmounted", tmp_path / "a.db")


@pytest.mark.parametrize("lost", [{}, {"home": False}, {"database": False}])
def test_without_ids_they_are_adopted_where_the_database_knows_a_file(tmp_path: Path, lost: dict[str, bool]) -> None:
    settings = opened(tmp_path / "a", tmp_path / "a.db")
    for dataset in (KNOWN, OTHER):
        add_dataset(settings, dataset, file=dataset == KNOWN)
    forget_ids(settings, **lost)
    opened(tmp_path / "a", tmp_path / "a.db")
    assert read_id(settings.files) is not None


def test_without_ids_they_are_refused_where_it_knows_none(tmp_path: Path) -> None:
    settings = opened(tmp_path / "a", tmp_path / "a.db")
    add_dataset(settings, KNOWN, file=False)
    settings.files.dataset_rows(OTHER).write_text("{}\n")
    forget_ids(settings)
    with pytest.raises(StartRefused, match="without an id"):
        opened(tmp_path / "a", tmp_path / "a.db")


def test_adopt_makes_a_pair_of_two_that_are_none(tmp_path: Path) -> None:
    for name in "ab":
        add_dataset(opened(tmp_path / name, tmp_path / f"{name}.db"))
    mixed = Settings(home=tmp_path / "a", database_url=f"sqlite:///{tmp_path / 'b.db'}")
    db = Database(mixed.resolved_database_url)
    assert mismatch(mixed, db) is not None
    chosen = pairing.adopt(mixed, db)
    assert mismatch(mixed, db) is None
    assert read_id(mixed.files) == chosen
    db.close()


def test_password_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path, database_url="postgresql+psycopg://adamss:canary@db.example/adamss")
    message, _ = pairing._problem(settings, None, None)
    assert "canary" not in message
    assert "db.example" in message


def test_migrated_database_without_an_id_keeps_what_it_has(tmp_path: Path) -> None:
    """As the first start of this version does."""
    settings = Settings(home=tmp_path / "a", database_url=f"sqlite:///{tmp_path / 'a.db'}")
    upgrade(settings, "0009")
    add_dataset(settings)
    open_database(settings).close()
    assert read_id(settings.files) is not None


def test_an_empty_home_folder_joins_through_the_store_of_its_database(tmp_path: Path) -> None:
    own = Settings(home=tmp_path / "a", storage_url=f"file://{tmp_path}/shared")
    db = open_database(own)
    pairing.open_paired_files(own, db)
    add_dataset(own)
    joining = Settings(home=tmp_path / "b", database_url=own.resolved_database_url)
    assert mismatch(joining, db) is not None
    joining = joining.model_copy(update={"storage_url": own.storage_url})
    assert mismatch(joining, db) is None
    pairing.pair(joining, db)
    assert read_id(joining.files) == read_id(own.files)
    strange = joining.model_copy(update={"home": tmp_path / "c", "storage_url": f"file://{tmp_path}/another"})
    assert mismatch(strange, db) is not None
    db.close()


def test_a_store_belongs_to_one_database(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/shared"
    settings = [Settings(home=tmp_path / name, storage_url=url) for name in "ab"]
    databases = [open_database(one) for one in settings]
    pairing.open_paired_files(settings[0], databases[0])
    with pytest.raises(StartRefused, match="do not belong together"):
        pairing.open_paired_files(settings[1], databases[1])
    pairing.adopt(settings[1], databases[1])
    pairing.open_paired_files(settings[1], databases[1])
    for db in databases:
        db.close()


def test_a_store_that_is_away_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("The store does not answer.")

    settings = Settings(home=tmp_path, storage_url=f"file://{tmp_path}/shared")
    db = open_database(settings)
    monkeypatch.setattr("service.shared.storage.object_store.ObjectStore.try_out", away)
    assert pairing.open_paired_files(settings, db).store is not None
    assert "does not answer" in caplog.text
    db.close()
