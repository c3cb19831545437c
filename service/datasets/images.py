"""Reader of a zip of images: each is decoded once, stored upright under a safe name, labelled by folder or metadata."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.datasets.archives import METADATA, UNREADABLE, Member
from service.datasets.image_modes import ImageModes
from service.datasets.json_rows import read_json_lines
from service.datasets.rows import MEBIBYTE, NumberedRow, Problem, Row, refuse, too_large
from service.datasets.tabular import read_csv
from service.datasets.text_file import open_text

if TYPE_CHECKING:
    from PIL.Image import Image

FILE_NAME = "file_name"
COPIED = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}  # byte for byte, if upright and of one frame
FORMATS = (*COPIED, "BMP", "GIF")
MAX_IMAGE_BYTES = 64 * MEBIBYTE
MAX_METADATA_BYTES = 256 * MEBIBYTE
MAX_PIXELS = 64_000_000
ORIENTATION = 0x0112  # EXIF: how the camera was held


def read_images(
    archive: zipfile.ZipFile, members: Sequence[Member], folder: Path, modes: ImageModes
) -> Iterator[NumberedRow | Problem]:
    """Yield rows of image (file name in `folder`), label or metadata, and file_name (name in the zip).

    Args:
        members: of one split.
        modes: filled while the rows are read.

    Raises:
        InvalidRequest: there is no image, or the metadata cannot be used.
    """
    metadata = [member for member in members if member.path.name.lower() in METADATA]
    pictures = [member for member in members if member not in metadata] if metadata else members
    if not pictures:
        raise refuse("no_images", "The zip has no images. Put them into one folder for each class.")
    folder.mkdir()
    if metadata:
        return _with_metadata(archive, metadata, pictures, folder, modes)
    return _by_folder(archive, pictures, folder, modes)


def _by_folder(
    archive: zipfile.ZipFile, pictures: Sequence[Member], folder: Path, modes: ImageModes
) -> Iterator[NumberedRow | Problem]:
    for member in pictures:
        if len(member.path.parts) < 2:
            yield _problem(
                member, "lies in no folder, so it has no class; put it into its class's folder, or add a metadata.csv"
            )
            continue
        yield _stored(archive, member, folder, {"label": member.path.parts[-2]}, modes)


def _with_metadata(
    archive: zipfile.ZipFile, metadata: Sequence[Member], pictures: Sequence[Member], folder: Path, modes: ImageModes
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
            yield _stored(archive, member, folder, values, modes)


def _metadata_rows(archive: zipfile.ZipFile, table: Member) -> Iterator[NumberedRow | Problem]:
    if table.info.file_size > MAX_METADATA_BYTES:
        raise too_large("metadata_too_large", f"{table.path} is larger than {MAX_METADATA_BYTES // MEBIBYTE} MiB.")
    try:
        text = open_text(io.BytesIO(archive.read(table.info)))
    except UNREADABLE as error:
        raise refuse("damaged_zip", f"{table.path} cannot be unpacked. Pack and upload it again.") from error
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


def _stored(
    archive: zipfile.ZipFile, member: Member, folder: Path, values: Row, modes: ImageModes
) -> NumberedRow | Problem:
    if member.info.file_size > MAX_IMAGE_BYTES:
        return _problem(member, f"is larger than {MAX_IMAGE_BYTES // MEBIBYTE} MiB; make it smaller")
    try:
        content = archive.read(member.info)
    except UNREADABLE:
        return _problem(member, "cannot be unpacked: the zip is damaged there; pack it again")
    try:
        name = store_image(content, folder, f"{member.number:07d}", modes)
    except UnusableImage as error:
        return _problem(member, str(error))
    return NumberedRow(member.number, None, {"image": name, **values, FILE_NAME: str(member.path)})


class UnusableImage(Exception):
    """Fault of an image and its remedy; the message completes "cats/a.png ..."."""


def store_image(content: bytes, folder: Path, stem: str, modes: ImageModes) -> str:
    """Decode an image in full, count its mode and write it upright; return the name of its file.

    Raises:
        UnusableImage: the content is not an image, or an unsupported or damaged one.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            # An animation yields its first frame.
            upright = ImageOps.exif_transpose(image)
            image.load()
            modes.add(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnusableImage(f"has over {MAX_PIXELS:,} pixels; make it smaller") from error
    except UnidentifiedImageError as error:
        raise UnusableImage("is not a supported image; use PNG, JPEG, WebP, BMP or GIF") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything from OSError to struct.error at a broken file
        raise UnusableImage(f"is damaged or cut off ({str(error)[:100]}); save it again") from error
    return _write(image, upright, content, folder, stem)


def _write(image: Image, upright: Any, content: bytes, folder: Path, stem: str) -> str:
    is_upright = image.getexif().get(ORIENTATION, 1) == 1
    if is_upright and image.format in COPIED and getattr(image, "n_frames", 1) == 1:
        name = f"{stem}.{COPIED[image.format]}"
        (folder / name).write_bytes(content)
        return name
    plain = image if upright is None else upright
    if image.format == "JPEG" and plain.mode in ("L", "RGB"):  # as PNG, photographs would grow tenfold
        name, format_, options = f"{stem}.jpg", "JPEG", {"quality": 95}
    else:
        name, format_, options = f"{stem}.png", "PNG", {}
        if plain.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
            plain = plain.convert("RGB")
    with (folder / name).open("wb") as out:
        plain.save(out, format_, exif=b"", **options)
    return name


def _problem(member: Member, message: str) -> Problem:
    return Problem(member.number, None, None, message, file=str(member.path)[:300])
