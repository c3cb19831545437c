"""Archives over a real connection: memory stays flat, and an upload that breaks off leaves nothing."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.keys.service import own_key
from service.shared.settings import Settings
from tests.security.support import memory, served
from tests.service.base_models.archives import files_of, tar_of
from tests.service.support import running

pytestmark = pytest.mark.slow

MEBIBYTE = 2**20
BLOCK = bytes(MEBIBYTE)


def until(happens: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_memory_of_the_api_is_flat_while_a_model_arrives(settings: Settings, tiny_model: Path) -> None:
    """300 MB more than the model, in a file that is left out.

    Seen to fail: with the archive read into memory before it is handed on, 300 MB.
    """
    size = 300 * MEBIBYTE
    head = bytearray(tar_of({"notes.md": b""})[:512])
    head[124:136] = f"{size:011o}\0".encode()
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()

    def body() -> Iterator[bytes]:
        yield bytes(head)
        for _ in range(size // MEBIBYTE):
            yield BLOCK
            peaks.append(memory())
        yield tar_of(files_of(tiny_model))

    with running(settings) as service, served(service.app) as address:
        before, peaks = memory(), [0]
        headers = {"authorization": service.client.headers["authorization"], "content-type": "application/x-tar"}
        answer = httpx.post(f"{address}/models?name=mine", content=body(), headers=headers, timeout=120)
        assert answer.status_code == 201, answer.text
        assert answer.json()["left_out"] == ["notes.md"]
        assert max(peaks) - before < 60 * MEBIBYTE


def half_sent(address: str, key: str, archive: bytes) -> socket.socket:
    """Send the first half of an archive over a connection of its own."""
    url = urlsplit(address)
    connection = socket.create_connection((url.hostname, url.port))
    lines = [
        "POST /models?name=mine HTTP/1.1",
        f"host: {url.netloc}",
        f"authorization: Bearer {key}",
        f"content-length: {len(archive)}",
        "content-type: application/x-tar",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + archive[: len(archive) // 2])
    return connection


def test_upload_that_breaks_off_leaves_nothing(settings: Settings, tiny_model: Path) -> None:
    """The caller goes while the archive arrives: folder and process go too, and the name is free.

    Seen to fail: without the abort in `receive`, the child waits for the rest for ever.
    """
    archive = tar_of(files_of(tiny_model))
    with running(settings) as service, served(service.app) as address:
        folder = settings.files.added_models
        connection = half_sent(address, own_key(settings) or "", archive)
        until(lambda: list(folder.glob("*.partial/incoming/*")))
        assert service.client.get("/models").json()["data"] == []
        connection.close()
        until(lambda: not list(folder.iterdir()))
        assert service.client.get("/models").json()["data"] == []
        headers = {"content-type": "application/x-tar"}
        assert service.client.post("/models?name=mine", content=archive, headers=headers).status_code == 201


@pytest.mark.compat
def test_killed_api_leaves_nothing_after_its_next_start(settings: Settings, tiny_model: Path) -> None:
    """SIGKILL while an archive arrives: the child dies with it, and the next start removes the folder."""
    archive = tar_of(files_of(tiny_model))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"ADAMSS_HOME": str(settings.resolved_home), "ADAMSS_PORT": str(port), "PATH": "/usr/bin:/bin"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[3])}
    api = subprocess.Popen([sys.executable, "-P", "-m", "service.cli", "api"], env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: is_up(address))
        with half_sent(address, own_key(settings) or "", archive):
            until(lambda: list(settings.files.added_models.glob("*.partial/incoming/*")))
            api.kill()
            api.wait(30)
    finally:
        api.kill()
        api.wait(30)
    with running(settings):
        assert list(settings.files.added_models.iterdir()) == []


def is_up(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz").is_success
    except httpx.TransportError:
        return False
