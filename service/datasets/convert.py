"""Child process that converts an uploaded file into rows and a profile, or a refusal with its reason.

`python -m service.datasets.convert`, in a folder of its own: the file is standard input (or the files are in `parts/`),
`order.json` holds the arguments and `answer.json` the result. No other process parses an uploaded file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import xxhash

from adamss_core.fileio.exchange import read_order, write_answer
from adamss_core.fileio.fsync import sync_open_file
from adamss_core.spec.tasks import usual_columns
from service.datasets.archives import Archive, open_archive, unpacked
from service.datasets.dialects import Translated
from service.datasets.formats import Opened, open_rows
from service.datasets.image_store import ImageStore
from service.datasets.images import read_images
from service.datasets.profiling import Profile, is_not_number
from service.datasets.repeated_rows import contradicting_within, describe_contradiction, first_pairs, repeated_within
from service.datasets.row_hashes import RowHashes, RowHashWriter
from service.datasets.row_numbers import RowNumbers
from service.datasets.rows import (
    MEBIBYTE,
    Format,
    Notice,
    NumberedRow,
    Problem,
    Row,
    check_count,
    encode,
    refuse,
    too_large,
)
from service.shared.errors import ServiceError, quoted_names
from service.shared.processes import sandbox

MAX_BAD_SHARE = 0.1
EXAMPLES = 20
UNREADABLE = "unreadable_file"

ROWS, HASHES, IMAGES, PARTS, SPLITS, ORIGINAL = "rows.jsonl", "hashes", "images", "parts", "splits", "original"


@dataclass(frozen=True)
class Conversion:
    """Arguments of the child.

    Attributes:
        name: name of the uploaded file.
        limit: maximum unpacked size in bytes.
        keep_limit: maximum size of the converted rows in bytes.
        memory: maximum address space in bytes.
        seconds: maximum CPU time.
    """

    name: str
    limit: int
    keep_limit: int
    memory: int
    seconds: int


class RowFile:
    """File of rows as canonical JSON lines, with its sha256."""

    def __init__(self, path: Path, limit: int) -> None:
        self._file, self._limit, self._left = path.open("wb", MEBIBYTE), limit, limit
        self.digest = hashlib.sha256()

    def write(self, line: bytes) -> None:
        self._left -= len(line)
        if self._left < 0:
            raise too_large(
                "unpacks_too_large",
                f"The rows come to more than the {self._limit:,} bytes that the service keeps. Split the file.",
            )
        self.digest.update(line)
        self._file.write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Sync the file to disk and close it."""
        with self._file:
            sync_open_file(self._file)


def convert(order: Conversion, folder: Path, files: Iterable[Opened]) -> dict[str, Any]:
    """Convert files into rows, hashes and images in `folder`; return the columns of a data set's row in the database.

    Raises:
        ServiceError: the file cannot be used.
    """
    profile, numbers, columns = Profile(), RowNumbers(), list[set[str]]()
    format_: Format | None = None
    with RowFile(folder / ROWS, order.keep_limit) as rows, RowHashWriter(folder) as hashes:
        for opened in files:
            format_ = opened.format
            profile.from_text = format_ in ("csv", "tsv", "images")
            rows_of_file = Translated(opened.rows, is_checked=profile.from_text)
            for row, line in _usable(_of_file(rows_of_file, opened, columns), profile):
                profile.add(row)
                hashes.add(row.values, _image_hash(row.values, folder) if format_ == "images" else None)
                rows.write(line)
                numbers.add(row.number)
            profile.notices += [*opened.notices, *rows_of_file.notices(), *opened.modes.notices()]
            profile.image_modes += opened.modes.counts
        hashes.finish(folder / HASHES)
    assert format_ is not None
    emptied = profile.finish()
    _check(profile)
    digest = rows.digest.hexdigest()
    if profile.has_gaps or emptied:
        digest = _rewrite(folder, list(profile.columns), emptied, order.keep_limit)
    if format_ == "images":
        os.sync()  # one sync of everything: thousands of single fsyncs take minutes
    hashes_of_rows = RowHashes(folder / HASHES)
    repetitions = _repetitions(profile, hashes_of_rows, numbers, format_)
    profile.notices += _contradictions(hashes_of_rows, repetitions)
    return {
        "format": format_,
        "rows": profile.rows,
        "size_bytes": _size(folder),
        "sha256": digest,
        "profile": profile.describe() | repetitions,
    }


def convert_upload(order: Conversion, folder: Path, file: IO[bytes]) -> dict[str, Any]:
    """Convert an uploaded file, as `convert` does; an archive of several splits into a folder for each.

    Returns:
        As `convert`; of several splits that of the first, and all by name as "splits".
    """
    archive = open_archive(file, order.limit, folder)
    if archive is None:
        return convert(order, folder, [open_rows(file, order.name, ImageStore(folder / IMAGES), order.limit)])
    with closing(archive):
        if len(archive.splits) == 1:
            return convert(order, folder, _of_archive(archive, next(iter(archive.splits)), order, folder))
        return _convert_splits(order, folder, archive)


def _convert_splits(order: Conversion, folder: Path, archive: Archive) -> dict[str, Any]:
    splits: dict[str, dict[str, Any]] = {}
    for name in archive.splits:
        of_split = folder / SPLITS / str(len(splits))
        of_split.mkdir(parents=True)
        try:
            splits[name] = convert(order, of_split, _of_archive(archive, name, order, of_split))
        except ServiceError as error:
            error.message = f"Split {name}: {error.message}"
            raise
    return next(iter(splits.values())) | {"splits": splits}


def convert_parts(order: Conversion, folder: Path) -> dict[str, Any]:
    """Convert the files of one format in `parts/`, in the order of their names, into one data set."""
    return convert(order, folder, _opened_parts(order, folder))


def _opened_parts(order: Conversion, folder: Path) -> Iterator[Opened]:
    for part in sorted((folder / PARTS).iterdir()):
        with part.open("rb") as file:
            yield open_rows(file, part.name, ImageStore(folder / IMAGES), order.limit)


def _of_archive(archive: Archive, split: str, order: Conversion, folder: Path) -> Iterator[Opened]:
    """Yield the opened members of a split; all images as one."""
    if archive.has_images:
        store = ImageStore(folder / IMAGES)
        notices = [*archive.notices]
        rows = read_images(archive.zip, archive.splits[split], store, notices)
        yield Opened("images", rows, notices, store.modes)
        return
    notices, store = archive.notices, ImageStore(folder / IMAGES)
    for name, path in unpacked(archive, split, folder):
        with path.open("rb") as file:
            opened = open_rows(file, name, store, order.limit)
            opened.name = name if len(archive.splits[split]) > 1 else None
            opened.notices[:0], notices = notices, []
            yield opened


def _of_file(items: Iterable[NumberedRow | Problem], opened: Opened, columns: list[set[str]]) -> Iterator[Any]:
    """Yield the rows of one of several files, and problems with its name.

    Args:
        columns: of the first row of each file so far.

    Raises:
        InvalidRequest: the file has other columns than those before it.
    """
    is_first = opened.name is not None
    for item in items:
        if isinstance(item, Problem):
            is_named = opened.name is None or item.file is not None
            yield item if is_named else replace(item, file=f"row {item.row} of {opened.name}")
            continue
        if is_first:
            is_first = False
            columns.append(set(item.values))
            _check_columns(columns, opened)
        yield item


def _check_columns(columns: list[set[str]], opened: Opened) -> None:
    first, own = columns[0], columns[-1]
    if own == first or (opened.format in ("json", "jsonl") and own & first):
        return
    raise refuse(
        "several_tables",
        f"{opened.name} has the columns {quoted_names(sorted(own))}, but the file before it has "
        f"{quoted_names(sorted(first))}: they are no parts of one data set. Upload each by itself, or name them by "
        "split: train, validation, test.",
    )


def _usable(items: Iterator[NumberedRow | Problem], profile: Profile) -> Iterator[tuple[NumberedRow, bytes]]:
    for item in items:
        check_count(profile.rows + profile.left_out + profile.empty_rows)
        if isinstance(item, Problem):
            profile.add_problem(item)
        elif not any(item.values.values()) and all(value in (None, "", []) for value in item.values.values()):
            profile.add_empty(item)
        else:
            line = encode(item)
            if isinstance(line, Problem):
                profile.add_problem(line)
            else:
                yield item, line


def _check(profile: Profile) -> None:
    bad, total = profile.left_out, profile.rows + profile.left_out
    if total == 0:
        raise refuse("no_rows", "The file has no rows with anything in them. Add rows, below the header if it has one.")
    if bad > MAX_BAD_SHARE * total:
        listed = [f"{group}." for group in profile.problem_groups.all() if group.left_out]
        raise refuse(
            "too_many_bad_rows",
            f"{bad:,} of {total:,} rows cannot be used, more than {MAX_BAD_SHARE:.0%}. Repair them and upload the file "
            "again:\n" + "\n".join(listed),
        )


def _rewrite(folder: Path, columns: list[str], emptied: set[str], limit: int) -> str:
    """Fill missing columns with null, so that each row can be read alone; return the new sha256."""
    with RowFile(folder / "filled", limit) as filled, (folder / ROWS).open("rb", MEBIBYTE) as file:
        for line in file:
            row = json.loads(line)
            values = {name: row.get(name) for name in columns}
            values |= {name: None for name in emptied if is_not_number(values[name])}
            encoded = encode(NumberedRow(0, None, values))
            if isinstance(encoded, Problem):
                raise refuse("row_too_long", "A row is too large once it has every column. Split its text.")
            filled.write(encoded)
    (folder / "filled").rename(folder / ROWS)
    return filled.digest.hexdigest()


def _contradictions(hashes: RowHashes, repetitions: dict[str, Any]) -> Iterator[Notice]:
    """Yield a notice on inputs under several labels, in the columns that a job reads by default."""
    present = set(hashes.columns)
    pairs = [(inputs, label) for inputs, label in usual_columns() if {*inputs, label} <= present]
    for inputs, label in sorted(pairs, key=lambda pair: len(pair[0]))[-1:]:  # a pair of texts, rather than one of them
        if repetitions["duplicates"]["rows"] or all(repetitions["repeated"].get(name) for name in inputs):
            found = contradicting_within(hashes, inputs, label)
            if found.repeated:
                yield Notice("contradictions", label, describe_contradiction(found, inputs, label))


def _repetitions(profile: Profile, hashes: RowHashes, numbers: RowNumbers, format_: Format) -> dict[str, Any]:
    """Count duplicate rows, and duplicate cells of each text column."""
    columns = ["image"] if format_ == "images" else hashes.columns
    repeated = repeated_within(hashes, columns).repeated
    pairs = first_pairs(hashes, columns, EXAMPLES) if repeated else []
    texts = [name for name in hashes.columns if profile.columns[name].type == "string"]
    return {
        "duplicates": {
            "rows": repeated,
            "examples": [{"row": numbers.of(later), "repeats": numbers.of(first)} for later, first in pairs],
        },
        "repeated": {name: repeated_within(hashes, [name]).repeated for name in texts},
    }


def _image_hash(row: Row, folder: Path) -> dict[str, int]:
    return {"image": xxhash.xxh3_64_intdigest((folder / IMAGES / row["image"]).read_bytes())}


def _size(folder: Path) -> int:
    images = [path for path in (folder / IMAGES).rglob("*") if path.is_file()]
    return (folder / ROWS).stat().st_size + sum(path.stat().st_size for path in images)


def main() -> None:
    folder = Path.cwd()
    order = Conversion(**read_order(folder))
    sandbox.enter(order.memory, order.seconds, 8 * order.keep_limit)
    try:
        if (folder / PARTS).is_dir():
            answer = convert_parts(order, folder)
        else:
            with os.fdopen(os.dup(sys.stdin.fileno()), "rb") as file:
                answer = convert_upload(order, folder, file)
    except ServiceError as error:
        answer = {"refused": {"status": error.status, "code": error.code, "message": error.message}}
    except MemoryError:
        answer = {
            "refused": {
                "status": 413,
                "code": "needs_too_much_memory",
                "message": "Reading the file needs more memory than the service gives to an upload. Split it, or write "
                "its rows in smaller groups.",
            }
        }
    except OSError:  # of this machine, such as a full disk
        raise
    except Exception as error:  # of the file: another try would end the same way
        traceback.print_exc()
        answer = {
            "refused": {
                "status": 422,
                "code": UNREADABLE,
                "message": f"The file cannot be read ({type(error).__name__}); the service's log has the details. "
                "Write it again, with another program if there is one.",
            }
        }
    write_answer(folder, answer)


if __name__ == "__main__":
    main()
