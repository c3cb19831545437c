"""Zips depend on their members' content, and on nothing else of the files."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

from adamss_core.fileio.zipping import write_zip, zip_folder


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    for name, moment, mode in (("one", 1_000_000_000, 0o600), ("two", 1_700_000_000, 0o755)):
        folder = tmp_path / name
        (folder / "inner").mkdir(parents=True)
        for file, content in (("b.txt", b"second"), ("a.txt", b"first"), ("inner/c.bin", bytes(3_000_000))):
            (folder / file).write_bytes(content)
            (folder / file).chmod(mode)
            os.utime(folder / file, (moment, moment))
        zip_folder(folder, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()

    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.txt", "b.txt", "inner/c.bin"]
        assert archive.read("inner/c.bin") == bytes(3_000_000)
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {stat.S_IMODE(entry.external_attr >> 16) for entry in archive.infolist()} == {0o644}


def test_members_are_files_or_bytes_in_the_given_order(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(b"rows")
    write_zip(tmp_path / "mixed.zip", {"z.parquet": tmp_path / "table", "manifest.json": b"{}"})
    with zipfile.ZipFile(tmp_path / "mixed.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "z.parquet": b"rows",
            "manifest.json": b"{}",
        }
        assert archive.namelist() == ["z.parquet", "manifest.json"]
