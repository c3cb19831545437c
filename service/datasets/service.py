"""Uploading, listing and deleting data sets."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from service.context import Caller
from service.datasets import repository, schemas
from service.datasets.parsing import Problem, Row, detect_format, read_rows, refuse
from service.datasets.profiling import Profile
from service.datasets.schemas import DatasetOut, PreviewOut
from service.db import Dataset, now
from service.errors import Conflict, NotFound
from service.ids import new_id
from service.paging import Page, cursor, parse_cursor, split
from service.settings import Settings

MAX_BAD_SHARE = 0.1
HEAD_BYTES = 512


def dataset_path(settings: Settings, dataset_id: str) -> Path:
    """The rows of a data set: one JSON object a line, UTF-8, every column in every row."""
    return settings.folder("datasets") / f"{dataset_id}.jsonl"


def upload(caller: Caller, file: IO[bytes], filename: str) -> DatasetOut:
    """Reads an uploaded file, keeps its rows and what was found out about them.

    Raises:
        InvalidRequest: the file cannot be used; nothing is kept.
    """
    dataset_id = new_id("ds")
    path = dataset_path(caller.settings, dataset_id)
    temporary = path.with_suffix(".partial")
    try:
        profile, digest = _convert(file, filename, temporary)
        _check(profile)
        if profile.has_gaps:
            digest = _fill_gaps(temporary, list(profile.columns))
        size = temporary.stat().st_size
        temporary.rename(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    try:
        with caller.db.write() as session:
            dataset = Dataset(
                id=dataset_id,
                project_id=caller.project_id,
                name=_safe_name(filename),
                format=profile.format,
                rows=profile.rows,
                size_bytes=size,
                sha256=digest,
                profile=profile.describe(),
                created_at=now(),
                deleted_at=None,
            )
            session.add(dataset)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return schemas.render(dataset)


def list_datasets(caller: Caller, after: str | None, limit: int) -> Page[DatasetOut]:
    with caller.db.read() as session:
        found = repository.page(session, caller.project_id, parse_cursor(after), limit + 1)
    rows, more = split(found, limit)
    end = cursor(rows[-1].created_at, rows[-1].id) if rows else None
    return Page(data=[schemas.render(row) for row in rows], has_more=more, next=end)


def show(caller: Caller, dataset_id: str) -> DatasetOut:
    return schemas.render(_get(caller, dataset_id))


def preview(caller: Caller, dataset_id: str) -> PreviewOut:
    profile = _get(caller, dataset_id).profile
    return PreviewOut(id=dataset_id, columns=[column["name"] for column in profile["columns"]], rows=profile["preview"])


def delete(caller: Caller, dataset_id: str) -> None:
    """Removes a data set and its rows.

    Raises:
        Conflict: a job that has not ended uses it.
    """
    with caller.db.write() as session:
        dataset = repository.find(session, caller.project_id, dataset_id)
        if dataset is None:
            raise not_found(dataset_id)
        for job in repository.unfinished_jobs(session, caller.project_id):
            if dataset_id in (job.spec["dataset"]["train"], job.spec["dataset"].get("eval")):
                raise Conflict(
                    f"Job {job.id} is {job.status} and uses this data set. Cancel the job or wait for its end.",
                    code="dataset_in_use",
                )
        dataset.deleted_at = now()
    dataset_path(caller.settings, dataset_id).unlink(missing_ok=True)


def not_found(dataset_id: str) -> NotFound:
    return NotFound(f"There is no data set {dataset_id}. GET /datasets lists yours.", code="dataset_not_found")


def _get(caller: Caller, dataset_id: str) -> Dataset:
    with caller.db.read() as session:
        dataset = repository.find(session, caller.project_id, dataset_id)
    if dataset is None:
        raise not_found(dataset_id)
    return dataset


def _convert(file: IO[bytes], filename: str, target: Path) -> tuple[Profile, str]:
    """Writes the rows as canonical JSONL; returns what was found, and the sha256."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    profile = Profile(detect_format(filename, head))

    def usable() -> Iterator[Row]:
        for item in read_rows(file, profile.format):
            if isinstance(item, Problem):
                profile.add_problem(item)
            else:
                profile.add(item)
                yield item

    return profile, _write_rows(target, usable())


def _fill_gaps(path: Path, columns: list[str]) -> str:
    """Gives every row every column, so that whoever reads a row need not know the others; returns the new sha256."""
    filled = path.with_suffix(".filled.partial")
    try:
        with path.open(encoding="utf-8") as file:
            rows = (json.loads(line) for line in file)
            digest = _write_rows(filled, ({name: row.get(name) for name in columns} for row in rows))
        filled.rename(path)
    finally:
        filled.unlink(missing_ok=True)
    return digest


def _write_rows(target: Path, rows: Iterator[Row]) -> str:
    """One JSON object a line, on the disk when this returns; returns the sha256."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            digest.update(line)
            out.write(line)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _check(profile: Profile) -> None:
    bad, total = profile.problem_count, profile.rows + profile.problem_count
    if total == 0:
        raise refuse("no_rows", "The file has a header but no rows. Add rows below it.")
    if bad > MAX_BAD_SHARE * total:
        first = profile.problems[0]
        where = f", column '{first.column}'" if first.column else ""
        raise refuse(
            "too_many_bad_rows",
            f"{bad} of {total} rows cannot be used, more than {MAX_BAD_SHARE:.0%}. The first is row {first.row} "
            f"(line {first.line}{where}): it {first.message}. Repair the file and upload it again.",
        )


def _safe_name(filename: str) -> str:
    """For showing only: the file on disk is named by the id."""
    name = re.sub(r"[^\w .()+-]", "_", filename.replace("\\", "/").rpartition("/")[2])
    return name[-200:].strip() or "upload"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
