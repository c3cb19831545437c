"""Streaming reader of Parquet and Arrow files, in batches of rows.

What a file's metadata says of its size is the size of what is encoded: a dictionary of one long text, named by each
row, unpacks to millions of times as much. So what is unpacked is counted batch by batch.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import IO, Any

from service.datasets.image_store import ImageStore, UnusableImage
from service.datasets.rows import (
    MEBIBYTE,
    Notice,
    NumberedRow,
    Problem,
    Row,
    check_count,
    check_names,
    refuse,
    too_large,
)
from service.shared.errors import quoted_names
from service.shared.storage.member_names import is_safe

ARROW_FILE = b"ARROW1"
IMAGE, FILE_NAME = "image", "file_name"
BATCH = 500
IMAGE_BATCH = 16  # rows with images
READ_BUFFER = MEBIBYTE  # of a column; without, its part of a group of rows is read at once, which may be all of them
SLICE_BYTES = 32 * MEBIBYTE  # of unpacked rows that are Python objects at a time


@dataclass(frozen=True)
class Table:
    """An opened file of columns.

    Attributes:
        batches: iterator of record batches of at most so many rows, where the format lets a reader choose.
        image: the column that holds images, if one does.
    """

    schema: Any
    batches: Callable[[int], Iterator[Any]]
    image: str | None

    @property
    def has_images(self) -> bool:
        return self.image is not None

    def rows(self, limit: int) -> Iterator[NumberedRow | Problem]:
        """Yield the rows, holding one batch in memory at a time.

        Raises:
            InvalidRequest: the file is damaged.
            TooLarge: the file unpacks to more than `limit` bytes.
        """
        import pyarrow as pa

        classes = _class_names(self.schema.metadata)
        try:
            for number, values in enumerate(_unpacked_rows(self.batches(BATCH), limit), start=1):
                yield from _row(values, number, classes)
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise _damaged(error) from error

    def rows_of_images(self, store: ImageStore, limit: int, notices: list[Notice]) -> Iterator[NumberedRow | Problem]:
        """Yield the rows with the names of stored images in the column `image`, and their own as `file_name`.

        Raises:
            InvalidRequest, TooLarge: as `rows`.
        """
        assert self.image is not None
        if self.image != IMAGE:
            notices.append(Notice("image_column", IMAGE, f"The images of column '{self.image}' are in '{IMAGE}'."))
        batches = replace(self, batches=lambda _: self.batches(IMAGE_BATCH))
        for item in batches.rows(limit):
            yield item if isinstance(item, Problem) else self._stored(item, store)

    def _stored(self, row: NumberedRow, store: ImageStore) -> NumberedRow | Problem:
        content, path = _content_of(row.values.pop(self.image or IMAGE))
        if content is None:
            return Problem(row.number, None, IMAGE, "has no bytes of an image; write the images into the file")
        own = PurePosixPath(path) if path and is_safe(path) else None
        try:
            name = store.put(content, own, row.number)
        except UnusableImage as error:
            return Problem(row.number, None, IMAGE, str(error))
        return NumberedRow(row.number, None, {IMAGE: name, **row.values} | ({FILE_NAME: path} if path else {}))


def open_parquet(file: IO[bytes], limit: int) -> Table:
    """Open a Parquet file and check what it says of itself.

    Raises:
        InvalidRequest: the file is damaged, encrypted, or has a column of an unsupported type.
        TooLarge: the file unpacks to more than `limit` bytes.
    """
    from pyarrow import parquet

    pa = _arrow()
    with _opening(pa):
        opened = parquet.ParquetFile(file, pre_buffer=False, buffer_size=READ_BUFFER)
        size = sum(opened.metadata.row_group(n).total_byte_size for n in range(opened.num_row_groups))
        if size > limit:
            raise _too_large(f"{size:,} bytes", limit)
        check_count(opened.metadata.num_rows)
        return _table(pa, opened.schema_arrow, lambda rows: opened.iter_batches(batch_size=rows, use_threads=False))


def open_arrow(file: IO[bytes]) -> Table:
    """Open an Arrow file or stream.

    Raises:
        InvalidRequest: the file is damaged, or has a column of an unsupported type.
    """
    pa = _arrow()
    file.seek(0)
    is_file = file.read(len(ARROW_FILE)) == ARROW_FILE
    file.seek(0)
    with _opening(pa):
        opened = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
        if is_file:
            return _table(pa, opened.schema, lambda _: map(opened.get_batch, range(opened.num_record_batches)))
        return _table(pa, opened.schema, lambda _: iter(opened))


@contextmanager
def _opening(pa: Any) -> Iterator[None]:
    """Translate what goes wrong with a schema, whose names are decoded when they are looked at."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(error) from error


def _arrow() -> Any:
    """Import pyarrow with one thread."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    return pa


def _table(pa: Any, schema: Any, batches: Callable[[int], Iterator[Any]]) -> Table:
    check_names(schema.names)
    images = [field.name for field in schema if _holds_images(pa, field)]
    if len(images) > 1:
        raise refuse(
            "unsupported_column", f"Columns {quoted_names(images)} hold images; one is read. Leave the others out."
        )
    if images and images[0] != IMAGE and IMAGE in schema.names:
        raise refuse("duplicate_columns", f"Column '{IMAGE}' holds no images, but '{images[0]}' does. Rename it.")
    for field in schema:
        if field.name not in images:
            _check_type(pa, field)
    return Table(schema, batches, images[0] if images else None)


def _holds_images(pa: Any, field: Any) -> bool:
    """Return whether a column is of bytes, or of structs of bytes and path as the `datasets` library writes images."""
    content = field.type
    if pa.types.is_struct(content):
        parts = {part.name: part.type for part in content}
        content = parts.get("bytes") if "path" in parts else None
    return content is not None and (pa.types.is_binary(content) or pa.types.is_large_binary(content))


def _content_of(value: Any) -> tuple[bytes | None, str | None]:
    if isinstance(value, dict):
        path = value.get("path")
        return value.get("bytes"), path if isinstance(path, str) else None
    return (value, None) if isinstance(value, bytes) else (None, None)


def _unpacked_rows(batches: Iterator[Any], limit: int) -> Iterator[Row]:
    """Yield the rows while what they unpack to stays within `limit`, few enough at a time to be held in memory."""
    unpacked = 0
    for batch in batches:
        batch.validate(full=True)  # an Arrow file's offsets are used as they are, and may lie outside of it
        size = sum(map(_unpacked_bytes, batch.columns))
        unpacked += size
        if unpacked > limit:
            raise _too_large(f"more than {limit:,} bytes", limit)
        step = max(1, min(BATCH, BATCH * SLICE_BYTES // max(1, size)))
        for start in range(0, batch.num_rows, step):
            yield from batch.slice(start, step).to_pylist()


def _unpacked_bytes(array: Any) -> int:
    """Return the size of an array's values, each written out."""
    import pyarrow as pa
    from pyarrow import compute

    if _is_list(pa, array.type):
        return 4 * len(array) + _unpacked_bytes(array.flatten())
    if pa.types.is_struct(array.type):
        return sum(map(_unpacked_bytes, array.flatten()))
    if not pa.types.is_dictionary(array.type):
        return int(array.nbytes)
    values = array.dictionary
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return int(values.nbytes / max(1, len(values)) * len(array))
    return int(compute.sum(compute.binary_length(values).take(array.indices)).as_py() or 0)


def _too_large(size: str, limit: int) -> Exception:
    return too_large(
        "unpacks_too_large",
        f"The Parquet or Arrow file unpacks to {size}; the service accepts {limit:,}. Split it.",
    )


def _row(values: Row, number: int, classes: dict[str, list[str]]) -> Iterator[NumberedRow | Problem]:
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            values[name] = None
            yield Problem(number, None, name, f"holds {value}, not a number; the cell counts as empty", left_out=False)
        elif name in classes and isinstance(value, int) and 0 <= value < len(classes[name]):
            values[name] = classes[name][value]
        elif not isinstance(value, (str, bytes, int, float, bool, type(None))):
            values[name] = _plain(value)
    yield NumberedRow(number, None, values)


def _plain(value: Any) -> Any:
    """Convert a Parquet value of a type that JSON lacks."""
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value) if value.is_finite() else None
    if isinstance(value, (datetime.timedelta, uuid.UUID)):
        return str(value)
    return value


def _check_type(pa: Any, field: Any) -> None:
    """Refuse columns other than text, numbers, objects and lists of them."""
    inner = field.type
    while pa.types.is_dictionary(inner) or _is_list(pa, inner):
        inner = inner.value_type
    if pa.types.is_struct(inner) and not _holds_images(pa, field.with_type(inner)):
        for part in inner:
            _check_type(pa, part.with_name(f"{field.name}.{part.name}"))
        return
    refused: list[Callable[[Any], bool]] = [
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_map,
        pa.types.is_union,
    ]
    if any(check(inner) for check in refused) or pa.types.is_struct(inner):
        remedy = "Leave it out, or write it as text"
        if pa.types.is_struct(inner):
            remedy = "Upload images as a zip, with a folder for each class or a metadata.csv"
        raise refuse(
            "unsupported_column",
            f"Column '{field.name}' has the type {str(inner)[:100]}, which cannot be used. {remedy}.",
        )


def _is_list(pa: Any, kind: Any) -> bool:
    return any(check(kind) for check in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Read the class names of integer columns, as the `datasets` library writes them into a file's metadata."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: [str(label) for label in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _damaged(error: Exception) -> Exception:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return refuse("damaged_parquet", f"The file cannot be read as Parquet or Arrow: {reason}. Write it again.")
