"""Rows 20, 23 to 27 and 29: the disk, the database, the clock, an upload that breaks off, and a wrong home folder."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import httpx
import pytest
from sqlalchemy import text

from service.shared.database.tables import Dataset, Job, JobStatus, Worker
from tests.faults.postgres import Postgres
from tests.faults.topology import KEY, Topology
from tests.worker.support import FAKE_CORE, is_alive

SMALL_DISK_MB = 48
DATABASE_DISK_MB = 128  # an empty database and its log take 60


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, where this machine lets us mount one."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """For the home folder."""
    home = tmp_path / "home"
    home.mkdir()
    with mounted(home, SMALL_DISK_MB):
        yield home


@pytest.fixture
def small_database_disk() -> Iterator[Path]:
    """For PostgreSQL; not below pytest's folder, which another user cannot enter."""
    folder = Path(mkdtemp(prefix="adamss-small-"))
    with mounted(folder, DATABASE_DISK_MB):
        yield folder
    folder.rmdir()


@pytest.mark.core
def test_row_20_disk_full_in_a_checkpoint(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(35)
    first = topology.start_worker(FAILPOINT="checkpoint:full:2")
    topology.until(lambda: topology.job(job_id).failures == 1)
    first.kill()
    reasons = [event.data["reason"] for event in topology.events(job_id) if event.type == "requeued"]
    assert [reason["code"] for reason in reasons] == ["disk_full"]
    assert "room" in reasons[0]["hint"]
    folder = topology.settings.files.job(job_id).checkpoints
    assert [path.name for path in folder.iterdir()] == ["step-00000010"]  # nothing temporary is left
    topology.start_worker()
    topology.check_succeeded(job_id, steps=35)


@pytest.mark.core
def test_row_20_disk_full_for_everything(small_disk: Path, topology: Topology) -> None:
    topology.api()
    spec = topology.spec()
    job_id = topology.submit(400)
    topology.start_worker()
    topology.wait_step(job_id, 12)
    ballast = fill(small_disk)
    topology.until(lambda: any("disk" in line.lower() for line in topology.log(job_id).splitlines()))
    answers = [topology.http.post("/datasets", files={"file": ("rows.csv", "text,label\n" + "a,b\n" * 50_000)})]
    if topology.set_up == "embedded":  # in production the database has a disk of its own
        answers.append(topology.http.post("/jobs", json=spec))
    assert [answer.status_code for answer in answers] == [503] * len(answers), [answer.text for answer in answers]
    assert {answer.json()["error"]["code"] for answer in answers[1:]} <= {"disk_full"}
    assert topology.http.get(f"/jobs/{job_id}").is_success
    assert topology.http.get("/jobs").is_success
    ballast.unlink()
    topology.check_succeeded(job_id, steps=400)
    left = [path for path in small_disk.rglob("*") if path.suffix in (".tmp", ".partial") or ".writing-" in path.name]
    assert left == []


class TestDatabaseDisk:
    """PostgreSQL on a disk of its own."""

    @pytest.fixture
    def own_postgres(self, small_database_disk: Path) -> Iterator[Postgres]:
        (folder := small_database_disk / "data").mkdir()
        server = Postgres(folder)
        yield server
        server.close()

    @pytest.mark.only("production")
    def test_row_20_disk_full_for_the_database(self, small_database_disk: Path, topology: Topology) -> None:
        topology.api()
        spec, accepted = topology.spec(3), []
        ballast = fill(small_database_disk)
        for _ in range(500):  # what has room in pages that are there is still taken
            answer = topology.http.post("/jobs", json=spec)
            if not answer.is_success:
                break
            accepted.append(answer.json()["id"])
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "disk_full")
        assert [topology.http.get(f"/jobs/{job_id}").status_code for job_id in accepted] == [200] * len(accepted)
        assert topology.http.get("/jobs").is_success
        ballast.unlink()
        accepted.append(topology.submit(3))
        topology.start_worker()
        for job_id in accepted[-2:]:
            topology.check_succeeded(job_id, steps=3)


def fill(folder: Path) -> Path:
    """To the last byte."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return ballast


@pytest.mark.quick("production")
def test_row_23_database_outage_shorter_than_the_lease(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(300)
    topology.start_worker()
    topology.wait_step(job_id, 5)
    if topology.postgres is None:
        with locked(topology):
            time.sleep(3)  # the length of the outage is the test's subject
    else:
        for _ in range(3):
            topology.postgres.cut_off()
        topology.wait_step(job_id, topology.job(job_id).step + 5)
        topology.postgres.stop("fast")
        topology.postgres.start()
        topology.wait_step(job_id, topology.job(job_id).step + 5)
        topology.postgres.stop("immediate")
        topology.postgres.start()
    job = topology.check_succeeded(job_id, steps=300)
    assert (job.attempt, job.failures) == (1, 0)


@pytest.mark.core
@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_row_24_database_gone_longer_than_the_lease(topology: Topology, how: str) -> None:
    topology.api()
    job_id = topology.submit(2_000)
    topology.start_worker()
    topology.wait_step(job_id, 15)
    pid = topology.pid_of_training(job_id)
    if topology.postgres is None:
        with locked(topology):
            topology.until(lambda: not is_alive(pid))
    elif how == "stopped":
        topology.postgres.stop("immediate")
        topology.until(lambda: not is_alive(pid))
        topology.postgres.start()
    else:
        topology.postgres.freeze()
        topology.until(lambda: not is_alive(pid))
        topology.postgres.thaw()
    kept = max(int(path.name.rpartition("-")[2]) for path in checkpoints(topology, job_id))
    topology.wait_attempt(job_id, 2)
    topology.wait_step(job_id, kept + 1)
    job = topology.job(job_id)
    assert job.status == JobStatus.RUNNING
    steps = [row.step for row in topology.metrics(job_id) if row.kind == "train"]
    assert len(set(steps)) == len(steps)
    assert {row.attempt for row in topology.metrics(job_id) if row.step > kept} == {job.attempt}


def checkpoints(topology: Topology, job_id: str) -> list[Path]:
    folder = topology.settings.files.job(job_id).checkpoints
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


@contextmanager
def locked(topology: Topology) -> Iterator[None]:
    """Somebody else writes to the database, or has locked the table of jobs, for as long as it takes."""
    if topology.postgres is None:
        connection = sqlite3.connect(topology.settings.files.database, isolation_level=None, timeout=30)
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()
        return
    with topology.db.engine.connect() as held:
        held.execute(text("LOCK TABLE jobs IN EXCLUSIVE MODE"))
        yield
        held.rollback()


def test_row_25_database_locked_for_eight_seconds(topology: Topology) -> None:
    topology.api()
    job_id = topology.submit(600)
    topology.start_worker(ADAMSS_LEASE_SECONDS="60")  # as it is by default: the lock is shorter than the lease
    topology.wait_step(job_id, 3)
    spec = topology.spec(3)
    answers: list[httpx.Response] = []

    def write() -> None:
        answers.append(topology.http.post("/jobs", json=spec))

    writers = [threading.Thread(target=write) for _ in range(4)]
    with locked(topology):
        for writer in writers:
            writer.start()
        until = time.monotonic() + 8.0
        while time.monotonic() < until:
            assert topology.http.get(f"/jobs/{job_id}").status_code == 200
            time.sleep(0.2)
    for writer in writers:
        writer.join()
    assert [answer.status_code for answer in answers] == [201] * 4
    for answer in answers:
        assert topology.http.post(f"/jobs/{answer.json()['id']}/cancel").is_success
    topology.wait_step(job_id, topology.job(job_id).step + 5)
    assert topology.job(job_id).attempt == 1


CLOCK = """
import sys, time
from pathlib import Path
offset, steady = Path(__file__).with_name("offset"), time.time
time.time = lambda: steady() + float(offset.read_text())
stand_in = {stand_in!r}
if stand_in:
    exec(compile(Path(stand_in).read_text(), stand_in, "exec"))
"""


def test_row_26_wall_clock_jumps_an_hour(topology: Topology, tmp_path: Path) -> None:
    folder = tmp_path / "clock"
    folder.mkdir()
    (folder / "offset").write_text("0")
    stand_in = str(FAKE_CORE / "sitecustomize.py") if topology.fake else ""
    (folder / "sitecustomize.py").write_text(CLOCK.format(stand_in=stand_in))
    path = {"PYTHONPATH": os.pathsep.join([str(folder), topology.python_path])}
    topology.api(**path)
    for _ in range(2):
        topology.start_worker(**path)
    job_id = topology.submit(1_000)
    topology.wait_step(job_id, 1)
    for hours in (1, -1):
        replace(folder / "offset", str(3_600 * hours))
        step = topology.job(job_id).step
        time.sleep(3 * topology.settings.sweep_seconds)  # time for both sweepers to look
        topology.wait_step(job_id, step + 5)
        assert topology.http.get("/readyz").json()["worker"]
    topology.check_succeeded(topology.submit(3), steps=3)  # new jobs are seen as well
    job = topology.job(job_id)
    assert (job.attempt, job.failures) == (1, 0)
    assert topology.http.post(f"/jobs/{job_id}/cancel").is_success
    topology.wait(job_id, JobStatus.CANCELLED)


def replace(path: Path, content: str) -> None:
    aside = path.with_name("aside")
    aside.write_text(content)
    aside.replace(path)


def test_row_27_upload_cut_half_way(topology: Topology) -> None:
    api = topology.api()
    with half_an_upload(topology):
        pass  # the client goes away
    with half_an_upload(topology):
        api.kill()
    topology.api()
    assert topology.http.get("/datasets").json()["data"] == []
    assert topology.count(Dataset) == 0
    assert list(topology.settings.files.datasets.iterdir()) == []
    assert topology.count(Job) == topology.count(Worker) == 0
    topology.dataset()  # and it takes new ones


@contextmanager
def half_an_upload(topology: Topology) -> Iterator[None]:
    rows = b"text,label\n" + b"a fine film,good\n" * 50_000
    part = b'--x\r\ncontent-disposition: form-data; name="file"; filename="rows.csv"\r\n\r\n'
    head = (
        f"POST /datasets HTTP/1.1\r\nhost: 127.0.0.1:{topology.settings.port}\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {len(part) + 2 * len(rows)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", topology.settings.port)) as connection:
        connection.sendall(head.encode() + part + rows)
        yield


@pytest.mark.quick("embedded")
def test_row_29_home_folder_with_another_database(topology: Topology) -> None:
    """Neither API nor worker starts, both are named, and no file is touched."""
    topology.api()
    job_id = topology.submit(3)
    worker = topology.start_worker()
    topology.check_succeeded(job_id, steps=3)
    worker.stop()
    home = topology.settings.resolved_home
    kept = ("jobs", "artifacts", "datasets")
    before = {path: path.stat().st_mtime_ns for folder in kept for path in (home / folder).rglob("*")}
    other = home.parent / "other.db"
    for start in (topology.start_api, topology.start_worker):
        refused = start(ADAMSS_DATABASE_URL=f"sqlite:///{other}", ADAMSS_PORT="0")
        assert refused.wait() != 0
    for output in (topology.output("api"), topology.output("worker")):
        assert str(home) in output
        assert str(other) in output
        assert "adamss adopt" in output
    assert {path: path.stat().st_mtime_ns for folder in kept for path in (home / folder).rglob("*")} == before
    assert not other.exists()
    topology.start_worker()
    topology.check_succeeded(topology.submit(3), steps=3)
