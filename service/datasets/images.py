"""Reader of a zip of images: each is decoded once, stored upright, labelled by folder, metadata or COCO."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from service.datasets import coco
from service.datasets.archives import UNREADABLE, Member, is_metadata
from service.datasets.image_store import MAX_IMAGE_BYTES, TOO_LARGE, ImageStore, UnusableImage
from service.datasets.json_rows import read_json_lines
from service.datasets.rows import MEBIBYTE, Notice, NumberedRow, Problem, Row, counted, refuse, too_large
from service.datasets.tabular import read_csv
from service.datasets.text_file import open_text

FILE_NAME = "file_name"
MAX_METADATA_BYTES = 256 * MEBIBYTE


def read_images(
    archive: zipfile.ZipFile, members: Sequence[Member], store: ImageStore, notices: list[Notice]
) -> Iterator[NumberedRow | Problem]:
    """Yield rows of image (its name in the store), label or metadata, and file_name (name in the zip).

    Args:
        members: of one split.
        store: takes the images.
        notices: gets what COCO's annotations hold beside classes.

    Raises:
        InvalidRequest: there is no image, or the metadata cannot be used.
    """
    metadata = [member for member in members if is_metadata(member)]
    pictures = [member for member in members if not is_metadata(member)]
    if not pictures:
        raise refuse("no_images", "The zip has no images. Put them into one folder for each class.")
    if metadata:
        return _with_metadata(archive, metadata, pictures, store)
    if annotations := _annotations(archive, pictures):
        tables = {member.number for member, _ in annotations}
        pictures = [member for member in pictures if member.number not in tables]
        return _with_annotations(archive, annotations, pictures, store, notices)
    notices += _about_folders(pictures)
    return _by_folder(archive, pictures, store)


def _about_folders(pictures: Sequence[Member]) -> Iterator[Notice]:
    """Yield a notice where folders have several names at several levels, so that the class may be an outer one."""
    nested = [picture.path for picture in pictures if len(picture.path.parts) > 2]
    levels = [{*names} for names in zip_longest(*(path.parts[:-1] for path in nested))]
    if sum(len(names - {None}) > 1 for names in levels) < 2:
        return
    yield Notice(
        "nested_folders",
        "label",
        f"Images lie in folders of several names at several levels, such as {str(nested[0])[:100]}: the innermost "
        f"folder is the class, there '{nested[0].parts[-2]}'. If an outer one is meant, move the images up into it, or "
        "add a metadata.csv of file_name and label.",
    )


def _by_folder(
    archive: zipfile.ZipFile, pictures: Sequence[Member], store: ImageStore
) -> Iterator[NumberedRow | Problem]:
    for member in pictures:
        if len(member.path.parts) < 2:
            yield _problem(
                member, "lies in no folder, so it has no class; put it into its class's folder, or add a metadata.csv"
            )
            continue
        yield _stored(archive, member, store, {"label": member.path.parts[-2]})


def _with_metadata(
    archive: zipfile.ZipFile, metadata: Sequence[Member], pictures: Sequence[Member], store: ImageStore
) -> Iterator[NumberedRow | Problem]:
    described: dict[str, Row] = {}
    by_path = {str(member.path): member for member in pictures}
    for table in metadata:
        for row in _metadata_rows(archive, table):
            if isinstance(row, Problem):
                yield row
                continue
            name = row.values.pop(FILE_NAME, None)
            path = str(table.path.parent / name) if isinstance(name, str) and name else ""
            where = f"row {row.number} of {table.path}"
            if path not in by_path:
                text = f"names {str(name)[:100]!r}, which is not in the zip; write the path from {table.path.name} on"
                yield Problem(row.number, row.line, FILE_NAME, text, file=where)
            elif path in described:
                yield Problem(row.number, row.line, FILE_NAME, f"names {path!r} a second time", file=where)
            else:
                described[path] = row.values
    for member in pictures:
        values = described.get(str(member.path))
        if values is None:
            yield _problem(member, "is not named in the metadata; add a line for it, or leave it out of the zip")
        else:
            yield _stored(archive, member, store, values)


def _annotations(archive: zipfile.ZipFile, members: Sequence[Member]) -> list[tuple[Member, dict[str, Any]]]:
    """Return the members that are COCO's annotations, parsed."""
    found: list[tuple[Member, dict[str, Any]]] = []
    for member in members:
        if member.path.suffix.lower() == ".json":
            document = coco.read_coco(_content(archive, member))
            found += [] if document is None else [(member, document)]
    return found


def _with_annotations(
    archive: zipfile.ZipFile,
    annotations: Sequence[tuple[Member, dict[str, Any]]],
    pictures: Sequence[Member],
    store: ImageStore,
    notices: list[Notice],
) -> Iterator[NumberedRow | Problem]:
    paths = {str(member.path) for member in pictures}
    rows: dict[str, Row] = {}
    for table, document in annotations:
        rows |= coco.labels_of(document, table.path, paths)
    if not rows:
        raise refuse("no_images", f"{annotations[0][0].path} annotates no image of the zip. Pack the images beside it.")
    message = f"The labels are COCO's categories of {counted(len(rows), 'image')}; boxes and masks are not learned."
    if left_out := len(paths) - len(rows):
        message += f" {counted(left_out, 'image')} without an annotation are left out."
    notices.append(Notice("coco", "label", message))
    for member in pictures:
        if (values := rows.get(str(member.path))) is not None:
            yield _stored(archive, member, store, values)


def _content(archive: zipfile.ZipFile, table: Member) -> bytes:
    if table.info.file_size > MAX_METADATA_BYTES:
        raise too_large("metadata_too_large", f"{table.path} is larger than {MAX_METADATA_BYTES // MEBIBYTE} MiB.")
    try:
        return archive.read(table.info)
    except UNREADABLE as error:
        raise refuse("damaged_zip", f"{table.path} cannot be unpacked. Pack and upload it again.") from error


def _metadata_rows(archive: zipfile.ZipFile, table: Member) -> Iterator[NumberedRow | Problem]:
    text = open_text(io.BytesIO(_content(archive, table)))
    rows = read_csv(text, []) if table.path.suffix == ".csv" else read_json_lines(text)
    for row in rows:
        if isinstance(row, Problem):
            yield Problem(row.row, row.line, row.column, row.message, file=f"row {row.row} of {table.path}")
            continue
        if FILE_NAME not in row.values:
            raise refuse("no_file_name", f"{table.path} has no column file_name. Add it, with a path per image.")
        if "image" in row.values:
            raise refuse("duplicate_columns", f"{table.path} has a column 'image', a reserved name. Rename it.")
        yield row


def _stored(archive: zipfile.ZipFile, member: Member, store: ImageStore, values: Row) -> NumberedRow | Problem:
    if member.info.file_size > MAX_IMAGE_BYTES:
        return _problem(member, TOO_LARGE)
    try:
        content = archive.read(member.info)
    except UNREADABLE:
        return _problem(member, "cannot be unpacked: the zip is damaged there; pack it again")
    try:
        name = store.put(content, member.path, member.number)
    except UnusableImage as error:
        return _problem(member, str(error))
    return NumberedRow(member.number, None, {"image": name, **values, FILE_NAME: str(member.path)})


def _problem(member: Member, message: str) -> Problem:
    return Problem(member.number, None, None, message, file=str(member.path)[:300])
