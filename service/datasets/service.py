"""Upload, list and delete data sets."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from adamss_core.fileio.fsync import sync_folder
from service.datasets import repository, schemas
from service.datasets.convert import HASHES, IMAGES, ORIGINAL, ROWS, SPLITS
from service.datasets.identity import identify
from service.datasets.schemas import DatasetOut
from service.datasets.upload import read_upload
from service.http.context import Caller
from service.http.paging import Page, count, cursor, parse_cursor, split
from service.projects.service import check_storage
from service.shared.database.tables import Dataset, StoredFile, now
from service.shared.datasets import mark_deleted, uses_dataset
from service.shared.errors import Conflict, NotFound, quoted_names
from service.shared.ids import new_id
from service.shared.jobs.job_queries import unfinished_naming
from service.shared.settings import Settings
from service.shared.storage.home import Home

if TYPE_CHECKING:
    from service.shared.storage.object_store import StoredContent


def upload(caller: Caller, file: IO[bytes], filename: str, *, is_new: bool = False) -> tuple[DatasetOut, bool]:
    """Convert an uploaded file in a child process and store its rows and profile.

    Args:
        is_new: store it also where the project has a data set of the same file, read by this version.

    Returns:
        The data set, and whether it was created.

    Raises:
        InvalidRequest, TooLarge: the file cannot be used; nothing is stored.
    """
    source = identify(file, filename)
    if not is_new:
        with caller.db.read() as session:
            there = repository.find_source(session, caller.project_id, source)
        if there is not None:
            return schemas.render(there), False
    dataset_id = new_id("ds")
    with work_folder(caller.settings, dataset_id) as folder:
        converted = read_upload(caller.readers, file, filename, folder, caller.upload_bytes)
        splits = converted.pop("splits", None)
        if splits is None:
            pieces = [Piece(dataset_id, filename, folder, converted | {"source": source})]
        else:
            pieces = _pieces(dataset_id, filename, folder, splits, source)
        return store(caller, pieces), True


@dataclass(frozen=True)
class Piece:
    """A converted data set that is not stored yet.

    Attributes:
        folder: with its files.
        converted: columns of its row in the database.
    """

    id: str
    name: str
    folder: Path
    converted: dict[str, Any]


def _pieces(
    dataset_id: str, filename: str, folder: Path, splits: dict[str, dict[str, Any]], source: str
) -> list[Piece]:
    """Return a data set for each split of an archive, each of which knows the others."""
    ids = {name: dataset_id if number == 0 else new_id("ds") for number, name in enumerate(splits)}
    return [
        Piece(
            ids[name],
            f"{filename} {name}",
            folder / SPLITS / str(number),
            converted | {"profile": converted["profile"] | {"splits": ids}, "source": source if number == 0 else None},
        )
        for number, (name, converted) in enumerate(splits.items())
    ]


@contextmanager
def work_folder(settings: Settings, dataset_id: str) -> Iterator[Path]:
    """Create a folder for an incomplete data set; remove it at the end."""
    folder = settings.files.dataset_partial(dataset_id)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def store(caller: Caller, pieces: Sequence[Piece]) -> DatasetOut:
    """Move converted files into the home folder, then insert the data sets' rows, all or none; return the first."""
    files = caller.settings.files
    for piece in pieces:
        for name, target in (
            (IMAGES, files.dataset_images(piece.id)),
            (HASHES, files.dataset_hashes(piece.id)),
            (ORIGINAL, files.dataset_original(piece.id)),
            (ROWS, files.dataset_rows(piece.id)),
        ):
            if (piece.folder / name).exists():
                (piece.folder / name).rename(target)
    sync_folder(files.datasets)
    stored: list[tuple[Path, str, StoredContent | None]] = []
    try:
        stored += [
            (path, piece.id, put(caller, path, piece.id)) for piece in pieces for path in files.dataset(piece.id)
        ]
        with caller.db.write() as session:
            size = sum(piece.converted["size_bytes"] for piece in pieces)
            check_storage(session, caller.settings, caller.project_id, size)
            rows = [
                Dataset(
                    id=piece.id,
                    project_id=caller.project_id,
                    name=_safe_name(piece.name),
                    created_at=now(),
                    deleted_at=None,
                    **piece.converted,
                )
                for piece in pieces
            ]
            session.add_all(rows)
            for path, owner, content in stored:
                caller.host_files.record(session, path, content, owner)
    except BaseException:
        for piece in pieces:
            remove_files(files, piece.id)
        caller.host_files.discard([content.key for _, _, content in stored if content is not None])
        raise
    return schemas.render(rows[0])


def put(caller: Caller, path: Path, dataset_id: str) -> StoredContent | None:
    """Write a file of a data set that has no row yet to the store, if there is one."""
    return caller.host_files.put(path, f"{caller.project_id}/{dataset_id}")


def remove_files(files: Home, dataset_id: str) -> None:
    for path in files.dataset(dataset_id):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def list_datasets(caller: Caller, after: str | None, limit: int) -> Page[DatasetOut]:
    with caller.db.read() as session:
        page = repository.page(session, caller.project_id, parse_cursor(after), limit + 1)
        total = count(session, repository.listed(caller.project_id), after)
    rows, more = split(page, limit)
    end = cursor(rows[-1].created_at, rows[-1].id) if rows else None
    return Page(data=[schemas.render(row) for row in rows], has_more=more, total=total, next=end)


def show(caller: Caller, dataset_id: str) -> DatasetOut:
    return schemas.render(get(caller, dataset_id))


def delete(caller: Caller, dataset_id: str) -> None:
    """Delete a data set and its rows.

    Raises:
        Conflict: an unfinished job uses the data set.
    """
    with caller.db.write() as session:
        dataset = repository.find(session, caller.project_id, dataset_id, lock=True)  # a submit locks it as well
        if dataset is None:
            raise not_found(dataset_id)
        jobs = unfinished_naming(session, caller.project_id, dataset_id)
        if users := [job.id for job in jobs if uses_dataset(job, dataset_id)]:
            raise Conflict(
                f"Unfinished jobs use this data set: {quoted_names(users)}. Cancel them or wait for their end.",
                code="dataset_in_use",
            )
        mark_deleted(session, dataset)
        keys = caller.host_files.forget(session, StoredFile.owner == dataset_id)
    remove_files(caller.settings.files, dataset_id)
    caller.host_files.discard(keys)


def not_found(dataset_id: str) -> NotFound:
    return NotFound(f"Data set {dataset_id} does not exist. GET /datasets lists yours.", code="dataset_not_found")


def get(caller: Caller, dataset_id: str) -> Dataset:
    """Load a data set of the caller's project.

    Raises:
        NotFound: the data set does not exist, or belongs to another project.
    """
    with caller.db.read() as session:
        dataset = repository.find(session, caller.project_id, dataset_id)
    if dataset is None:
        raise not_found(dataset_id)
    return dataset


def _safe_name(filename: str) -> str:
    """Sanitize a name for display only: the file on disk is named by the id."""
    name = re.sub(r"[^\w .()+-]", "_", filename.replace("\\", "/").rpartition("/")[2])
    return name[-200:].strip() or "upload"
