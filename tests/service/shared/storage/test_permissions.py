"""The home folder is its owner's only, whatever the umask of whoever starts the service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from adamss_core.fileio.atomic import write_atomically
from service.operations.doctor import _home
from service.shared.settings import Settings
from service.shared.storage.permissions import keep_private, wider_paths


@pytest.fixture(autouse=True)
def lenient() -> Iterator[None]:
    """The umask that lets everybody read and write; the one of this process is put back."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_home_and_its_files_are_private(tmp_path: Path) -> None:
    """A home folder that was open is closed, and what is written afterwards is private, by the core too.

    Seen to fail: with mkstemp and 0644 in `write_atomically`.
    """
    home = Settings(home=tmp_path / "home").files
    home.root.mkdir()
    assert mode(home.root) == 0o777
    keep_private(home.root)
    write_atomically({home.scratch / "request.json": b"{}"})
    (home.logs / "api.log").touch()
    assert mode(home.root) == mode(home.logs) == 0o700
    assert mode(home.scratch / "request.json") == mode(home.logs / "api.log") == 0o600
    assert wider_paths(home) == []


def test_home_that_is_not_there_yet_is_made_private(tmp_path: Path) -> None:
    home = Settings(home=tmp_path / "home").files
    keep_private(home.root)
    home.jobs.joinpath("job").mkdir()
    assert mode(home.root) == mode(home.jobs) == mode(home.jobs / "job") == 0o700


def test_doctor_names_what_others_can_read(tmp_path: Path) -> None:
    """Base models are not secret, and a link's own mode means nothing."""
    settings = Settings(home=tmp_path / "home")
    home = settings.files
    home.root.mkdir(mode=0o700)
    home.models.chmod(0o755)
    (home.models / "config.json").touch()
    (home.root / "link").symlink_to("nowhere")
    for path in (home.artifacts, home.logs):
        path.chmod(0o700)
    assert [finding.state for finding in _home(settings)] == ["ok"]
    home.log("api").touch(0o640)
    (finding,) = _home(settings)
    assert (finding.state, str(home.log("api")) in finding.message) == ("warning", True)
    assert "chmod -R go-rwx" in finding.remedy
