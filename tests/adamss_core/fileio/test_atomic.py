"""Files appear whole, together or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from adamss_core.fileio.atomic import write_atomically


def test_files_replace_older_ones_and_nothing_else_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    write_atomically({tmp_path / "a": b"new", tmp_path / "b": b"other"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new", "b": b"other"}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


@pytest.mark.parametrize("failing_call", [1, 2])
def test_failed_write_leaves_the_older_files(
    failing_call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"old")
    calls: list[int] = []

    def full_disk(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing_call:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_atomically({tmp_path / "a": b"new", tmp_path / "b": b"other"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_folder_is_fsynced_after_the_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    present: list[bool] = []

    def record(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == tmp_path.stat().st_ino:
            present.append((tmp_path / "a").exists())

    monkeypatch.setattr(os, "fsync", record)
    write_atomically({tmp_path / "a": b"new"})
    assert present == [True]
