"""What is asked to be durable is fsynced, and no descriptor stays open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adamss_core.fileio.fsync import sync_file, sync_folder, sync_open_file
from adamss_core.fileio.zipping import write_zip


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Inodes in the order in which they are fsynced."""
    inodes: list[int] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        inodes.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return inodes


def test_files_and_folders_are_fsynced(tmp_path: Path, synced: list[int]) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.write(b"content")
        sync_open_file(file)
        assert path.read_bytes() == b"content"  # flushed before
    sync_file(path)
    sync_folder(tmp_path)
    assert synced == [path.stat().st_ino, path.stat().st_ino, tmp_path.stat().st_ino]


def test_zip_is_on_disk_when_it_is_written(tmp_path: Path, synced: list[int]) -> None:
    write_zip(tmp_path / "file.zip", {"a": b"content"})
    assert synced == [(tmp_path / "file.zip").stat().st_ino]


def test_descriptor_is_closed_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def fail(descriptor: int) -> None:
        opened.append(descriptor)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
