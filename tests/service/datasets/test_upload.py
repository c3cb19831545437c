"""The process that reads uploads: its limits, and the errors its exits become."""

from __future__ import annotations

import errno
import io
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.datasets import upload
from service.shared.errors import InvalidRequest, TooLarge, Unavailable
from service.shared.processes.forkserver import ForkServer
from tests.processes import READERS, Scripted
from tests.service.datasets.corpus import TEXTS

LIMIT = 2**26


def read(folder: Path, content: bytes, name: str = "a.csv", readers: ForkServer = READERS) -> dict[str, object]:
    (folder / "upload").write_bytes(content)
    work = folder / "work"
    work.mkdir()
    with (folder / "upload").open("rb") as file:
        return upload.read_upload(readers, file, name, work, LIMIT)


def test_file_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, TEXTS)["rows"] == 20


def test_memory_limit_returns_413(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "MEMORY_BYTES", 600 * 2**20)
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int8()), ["a" * 5_000_000])
    out = io.BytesIO()
    pq.write_table(pa.table({"text": one}), out, store_schema=False)  # a batch of its texts takes 2 GB
    bomb = out.getvalue()
    assert len(bomb) < 300_000
    with pytest.raises(TooLarge) as caught:
        read(tmp_path, bomb, "a.parquet")
    assert caught.value.code == "needs_too_much_memory"


def test_reader_is_killed_after_its_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "CPU_SECONDS", 1)
    monkeypatch.setattr(upload, "WALL_FACTOR", 1)
    with pytest.raises(InvalidRequest) as caught:
        read(tmp_path, TEXTS, readers=Scripted("import time; time.sleep(600)"))
    assert caught.value.code == "takes_too_long"


def test_cpu_limit_returns_422(tmp_path: Path) -> None:
    """Seen to fail: with equal soft and hard limits, of which the kernel takes SIGKILL, a 503 that says "try again"."""
    limited = "from service.shared.processes import sandbox; sandbox.enter(2**31, 1, 2**20)"
    with pytest.raises(InvalidRequest) as caught:
        read(tmp_path, TEXTS, readers=Scripted(f"{limited}\nwhile True: pass"))
    assert caught.value.code == "takes_too_long"


@pytest.mark.parametrize("signal", ["SIGSEGV", "SIGABRT", "SIGBUS"])
def test_crash_of_the_reader_returns_422(tmp_path: Path, signal: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(tmp_path, TEXTS, readers=Scripted(f"import os, signal; os.kill(os.getpid(), signal.{signal})"))
    assert caught.value.code == "damaged_file"


def test_failed_reader_returns_503_and_full_disk_raises_enospc(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(tmp_path, TEXTS, readers=Scripted("raise RuntimeError"))
    (tmp_path / "again").mkdir()
    with pytest.raises(OSError, match="No space") as caught:
        read(tmp_path / "again", TEXTS, readers=Scripted("import errno; raise OSError(errno.ENOSPC, 'full')"))
    assert caught.value.errno == errno.ENOSPC


def test_readers_are_forked_from_one_server_and_share_no_folder(tmp_path: Path) -> None:
    """Each has HOME and TMPDIR of its own, and none is there for the next one."""
    readers = upload.reader_server(idle_seconds=60)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert read(tmp_path / name, TEXTS, readers=readers)["rows"] == 20
        assert {path.name for path in (tmp_path / name / "work").iterdir()} >= {"rows.jsonl", "hashes"}
    assert len(readers._servers) == 1
    readers.close()


ATTEMPTS = (
    "import socket; socket.create_connection(('127.0.0.1', 9))",
    "import socket; socket.getaddrinfo('example.org', 80)",
    "import subprocess; subprocess.run(['true'])",
    "import os; os.system('true')",
    "import os; os.fork()",
    "import os; os.execv('/bin/true', ['true'])",
    "import os; os.symlink('/etc/passwd', 'link')",
    "import pickle; pickle.loads(b'cos\\nsystem\\n.')",
)


def test_sandbox_refuses_network_and_processes(tmp_path: Path) -> None:
    code = f"""
from service.shared.processes import sandbox
sandbox.enter(2**31, 60, 2**20)
for attempt in {ATTEMPTS!r}:
    try:
        exec(attempt)
    except sandbox.NotAllowed:
        print("not allowed")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines() == ["not allowed"] * len(ATTEMPTS)


def test_sandbox_has_an_empty_network_namespace(tmp_path: Path) -> None:
    """Also for libraries that call the system directly, past the interpreter's audit hook.

    Seen to fail: without `unshare`, it connects.
    """
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Un", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system grants users no network namespace")
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
import ctypes, struct
from service.shared.processes import sandbox
libc = ctypes.CDLL(None)
family, port = struct.pack("=H", {int(socket.AF_INET)}), struct.pack("!H", {server.getsockname()[1]})
address = family + port + bytes([127, 0, 0, 1])
print(libc.connect(libc.socket({int(socket.AF_INET)}, 1, 0), address + bytes(8), 16))
sandbox.enter(2**31, 60, 2**20)
print(libc.connect(libc.socket({int(socket.AF_INET)}, 1, 0), address + bytes(8), 16))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == ["0", "-1"]


def test_sandbox_sets_resource_limits(tmp_path: Path) -> None:
    code = (
        "import resource as r; from service.shared.processes import sandbox; sandbox.enter(2**31, 60, 2**20)\n"
        "print([r.getrlimit(k)[0] for k in (r.RLIMIT_CPU, r.RLIMIT_NOFILE, r.RLIMIT_FSIZE, r.RLIMIT_CORE)])\n"
        "open('large', 'wb').write(bytes(2**21))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.strip() == f"[60, 64, {2**20}, 0]"
    assert "File too large" in done.stderr


def test_import_of_the_reader_loads_no_heavy_library() -> None:
    heavy = ("torch", "transformers", "numpy", "pyarrow", "fastapi")
    code = f"import sys, service.datasets.convert; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
