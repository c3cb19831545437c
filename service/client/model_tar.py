"""The files of a model's folder as one tar, made while it is sent: no copy of gigabytes is written."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from service.client.errors import ApiError

PIECE = 1 << 20
END = bytes(2 * tarfile.BLOCKSIZE)
# What the service keeps of a model; a test compares it with `service.shared.model_selection`.
WANTED = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors")
UNWANTED = (".*", "consolidated*")

Progress = Callable[[int, int], None]


def model_files(folder: Path) -> list[Path]:
    """List the files of a folder that a model is loaded from.

    Raises:
        ApiError: the folder holds no model, or only pickles.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and _is_wanted(path.name))
    names = {path.name for path in files}
    if "config.json" not in names:
        raise ApiError(
            f"{folder} has no config.json. Name the folder that save_pretrained has written.", code="no_model"
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise ApiError(
            f"{folder} has no safetensors weights. Save the model with save_pretrained(safe_serialization=True): "
            "pickles are never loaded.",
            code="no_weights",
        )
    return files


def tar_size(files: list[Path]) -> int:
    """Return the bytes that `tar_pieces` yields."""
    sizes = {path: path.stat().st_size for path in files}
    return sum(len(_header(path, size)) + size + _padding(size) for path, size in sizes.items()) + len(END)


def tar_pieces(files: list[Path]) -> Iterator[bytes]:
    """Yield a tar of files, without their folder; links are followed.

    Raises:
        ApiError: a file has changed while it was read.
    """
    for path in files:
        with path.open("rb") as file:
            size = left = path.stat().st_size
            yield _header(path, size)
            while piece := file.read(min(PIECE, left)):
                left -= len(piece)
                yield piece
        if left:
            raise ApiError(f"{path} became shorter while it was sent. Try again.", code="file_changed")
        yield bytes(_padding(size))
    yield END


def reported(pieces: Iterator[bytes], total: int, report: Progress | None) -> Iterator[bytes]:
    """Yield pieces, and report after each how many bytes of all were taken."""
    sent = 0
    for piece in pieces:
        yield piece
        sent += len(piece)
        if report is not None:
            report(sent, total)


def file_pieces(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _header(path: Path, size: int) -> bytes:
    entry = tarfile.TarInfo(path.name)
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)  # takes files of more than 8 GB


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


def _is_wanted(name: str) -> bool:
    return any(fnmatch(name, one) for one in WANTED) and not any(fnmatch(name, one) for one in UNWANTED)
