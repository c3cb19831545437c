"""Which devices a worker finds, and which job gets which. There are no GPUs here: what counts is the locks."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from service.shared.database.tables import HostDevice, Job, JobStatus, now
from service.shared.jobs import device_rows, states
from service.shared.jobs.device_rows import DeviceState
from tests.processes import ANEW
from tests.worker.support import Service, scaled_settings, stop, wait_for
from worker.device_locks import DeviceLocks, HeldDevices, open_devices
from worker.devices import FoundDevice, find_devices, kind_label, unfit
from worker.failures import SEVERAL_SLICES
from worker.runner import Runner
from worker.sweeper import Sweeper

HOLDS = """
import sys
from pathlib import Path
from worker.device_locks import DeviceLocks
from worker.devices import find_devices
held = DeviceLocks(find_devices("cpu:2", "other", 1), Path(sys.argv[1])).take(["cpu:0"], "job_other")
print(held is not None, flush=True)
sys.stdin.read()
"""
MIG = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111)
  MIG 1g.10gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA A10G (UUID: GPU-bbbb)
"""


def smi(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        listing = MIG if command[1] == "-L" else "GPU-aaaa, 81559\nGPU-bbbb, 23028\n"
        return subprocess.CompletedProcess(command, 0, listing)

    monkeypatch.setattr("worker.nvidia.subprocess.run", answer)


def test_gpus_and_slices_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    smi(monkeypatch)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = find_devices(None, "w", 1)
    assert [(one.name, one.key, one.kind) for one in found] == [
        ("cuda:0/0", "MIG-1111", "h100-3g.40gb"),
        ("cuda:0/1", "MIG-2222", "h100-1g.10gb"),
        ("cuda:1", "GPU-bbbb", "a10g"),
    ]
    assert [one.memory_bytes for one in found] == [40 * 2**30, 10 * 2**30, 23_028 * 2**20]
    assert unfit(found[:1]) is None
    assert unfit(found[:2]) == SEVERAL_SLICES  # CUDA shows a process one slice
    assert unfit(found[2:]) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,MIG-22")
    assert [one.visible for one in find_devices(None, "w", 1)] == ["GPU-bbbb", "MIG-2222"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA H100 PCIe", "h100"),
        ("NVIDIA", "cuda"),
    ],
)
def test_labels_of_kinds(name: str, label: str) -> None:
    assert kind_label(name) == label


def test_devices_that_a_setting_names() -> None:
    assert [one.name for one in find_devices("cpu:2", "w", 1)] == ["cpu:0", "cpu:1"]
    first, second = find_devices("fake:2x24GB:a10", "w", 1)
    assert (first.kind, first.memory_bytes, first.fake, second.name) == ("a10", 24 * 10**9, True, "fake:1")
    with pytest.raises(ValueError, match="devices"):
        scaled_settings(Path("home"), devices="gpu:2")


def test_all_locks_or_none(tmp_path: Path) -> None:
    """Also where the worker that holds one is killed."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    devices = DeviceLocks(find_devices("cpu:2", "w", 1), tmp_path)
    assert [state.job_id for state in devices.states()] == ["job_other", None]
    assert devices.take(["cpu:1", "cpu:0"], "job_mine") is None
    assert [state.name for state in devices.states() if state.job_id is None] == ["cpu:1"]
    other.kill()
    other.communicate()
    held = devices.take(["cpu:0", "cpu:1"], "job_mine")
    assert held is not None
    assert all(state.job_id is not None for state in devices.states())
    again = DeviceLocks(find_devices("cpu:2", "again", 1), tmp_path)
    assert [state.job_id for state in again.states()] == ["job_mine", "job_mine"]
    held.close()
    assert [state.job_id for state in again.states()] == [None, None]


def test_small_jobs_share_a_device(tmp_path: Path) -> None:
    """As many as may, and as fit; whoever wants it alone waits for them, and they for that."""
    gpu = FoundDevice("cuda:0", "GPU-a", "h100", 80 * 10**9, visible="GPU-a")
    first, second = (DeviceLocks([gpu], tmp_path, most_jobs=3) for _ in range(2))
    small = first.take(["cuda:0"], "job_a", 20 * 10**9)
    assert small is not None
    assert small.memory_share == pytest.approx(20.5 / 80)
    (state,) = second.states()
    assert (state.shares, state.is_free, state.is_open, state.left_bytes) == (
        (("job_a", 20 * 10**9),),
        False,
        True,
        58 * 10**9,  # two contexts of 1 GB
    )
    assert second.take(["cuda:0"], "job_b") is None, "not alone"
    assert second.take(["cuda:0"], "job_b", 59 * 10**9) is None, "too large"
    others = [second.take(["cuda:0"], name, 10**9) for name in ("job_b", "job_c", "job_d")]
    assert [one is not None for one in others] == [True, True, False], "three at most"
    alone = DeviceLocks([gpu], tmp_path)
    assert not alone.states()[0].is_open, "a worker that lets nobody share sees it as taken"
    for held in (small, *others):
        if held is not None:
            held.close()
    assert first.states()[0].is_free
    whole = alone.take(["cuda:0"], "job_e")
    assert whole is not None
    assert whole.memory_share is None
    assert first.take(["cuda:0"], "job_f", 10**9) is None
    assert not first.states()[0].is_open


SHARES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.sampled_from([None, 1, 4, 10])), max_size=12)


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(SHARES)
def test_shares_never_exceed_a_device(takes: list[tuple[int, int, int | None]]) -> None:
    """Two workers take and give back in any order: together jobs never have more than there is, nor more than may."""
    with TemporaryDirectory() as folder:
        device = FoundDevice("cpu:0", "host/cpu:0", "cpu", 10)
        workers = [DeviceLocks([device], Path(folder), most_jobs=3) for _ in range(2)]
        held: dict[int, HeldDevices] = {}
        for worker, number, share in takes:
            if (mine := held.pop(number, None)) is not None:
                mine.close()
            elif (taken := workers[worker].take(["cpu:0"], f"job_{number}", share)) is not None:
                held[number] = taken
            sizes = [one.share for one in held.values()]
            assert sum(size or 10 for size in sizes) <= 10
            assert len(sizes) <= (1 if None in sizes else 3)
            for one in workers:
                assert one.states()[0].holders == {f"job_{number}" for number in held}
        for mine in held.values():
            mine.close()


def test_two_small_jobs_run_on_one_device(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose memory is not known has a device alone, and waits."""
    ran: list[tuple[str, int | None]] = []

    def supervise(_: Runner, job: Job, at: float, held: HeldDevices) -> None:
        ran.append((job.id, held.share))
        if len(ran) == 1:
            assert runner.run("any"), "while this one runs"
        else:
            assert not runner.run("any")
            check_rows()

    def check_rows() -> None:
        with service.db.read() as session:
            (row,) = session.scalars(select(HostDevice)).all()
            assert (row.job_id, row.shares, row.most_jobs) == (None, dict.fromkeys(sized, 10**9), 2)
            assert device_rows.named(session, "worker-1", [row.key]) == [{"name": "fake:0", "kind": "h100"}]

    monkeypatch.setattr(Runner, "_supervise", supervise)
    sized, unknown = [service.add_job() for _ in range(2)], service.add_job()
    with service.db.write() as session:
        for job_id in sized:
            session.get_one(Job, job_id).device_memory = 10**9
        session.get_one(Job, unknown).queued_at = now() + timedelta(hours=1)
    config = service.settings.model_copy(update={"devices": "fake:1x80GB:h100", "jobs_per_device": 2})
    locks = open_devices(config, "worker-1")
    runner = Runner(config, service.db, "worker-1", locks, ANEW)
    Sweeper(config, service.db, "worker-1", locks, lambda _: None, lambda: 0).sweep()
    assert runner.run("any")
    assert ran == [(job_id, 10**9) for job_id in sized]
    assert service.job(unknown).status == JobStatus.QUEUED
    with service.db.write() as session:
        for job_id in sized:
            device_rows.release(session, ["worker-1/fake:0"], job_id)
        assert session.scalars(select(HostDevice.shares)).all() == [None]


def test_a_single_gpu_is_locked_too(tmp_path: Path) -> None:
    gpu = FoundDevice("cuda:0", "GPU-a", "h100", visible="GPU-a")
    first, second = DeviceLocks([gpu], tmp_path), DeviceLocks([gpu], tmp_path)
    held = first.take(["cuda:0"], "job_a")
    assert held is not None
    assert held.visible == "GPU-a"
    assert second.take(["cuda:0"], "job_b") is None


def device(name: str, kind: str = "h100", gigabytes: float | None = 80) -> DeviceState:
    memory = None if gigabytes is None else round(gigabytes * 10**9)
    return DeviceState(name, f"GPU-{name}", kind, memory, memory)


FREE = [device("0"), device("1", gigabytes=40), device("2", "a10", 24), device("3", "a10", None)]
NEEDS = [
    (states.Needs(), True),
    (states.Needs(2, "h100", 40 * 10**9), True),
    (states.Needs(2, "h100", 41 * 10**9), False),
    (states.Needs(2, "a10", 10**12), False),
    (states.Needs(1, "a10", 10**12), True),
    (states.Needs(3), False),
    (states.Needs(1, "h200"), False),
    (states.Needs(1, None, 80 * 10**9), True),
]


def test_the_rule_and_the_query_agree(service: Service) -> None:
    jobs = {service.add_job(): (needs, fits) for needs, fits in NEEDS}
    with service.db.write() as session:
        for job_id, (needs, _) in jobs.items():
            row = session.get_one(Job, job_id)
            row.devices, row.device_kind, row.device_memory = needs.devices, needs.kind, needs.memory
    with service.db.read() as session:
        fitting = set(session.scalars(select(Job.id).where(states.fits(FREE))))
        assert list(session.scalars(select(Job.id).where(states.fits([])))) == []
    assert fitting == {job_id for job_id, (_, fits) in jobs.items() if fits}
    for needs, fits in NEEDS:
        assert (states.choose(FREE, needs) is not None) == fits
    assert [one.name for one in states.choose(FREE, states.Needs(1, "h100", 10)) or []] == ["1"]


def test_a_smaller_job_passes_one_that_does_not_fit(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(Runner, "_supervise", lambda _, job, at, held: ran.append((job.id, held.keys)))
    large, pair, single = (service.add_job() for _ in range(3))
    with service.db.write() as session:
        session.get_one(Job, large).devices, session.get_one(Job, pair).devices = 3, 2
    settings = service.settings.model_copy(update={"devices": "cpu:2"})
    devices = open_devices(settings, "worker-1")
    runner = Runner(settings, service.db, "worker-1", devices, ANEW)
    Sweeper(settings, service.db, "worker-1", devices, lambda _: None, lambda: 0).sweep()
    assert runner.run("any")
    assert [(job, len(keys)) for job, keys in ran] == [(pair, 2)]
    assert not runner.run("any")  # nothing is free
    with service.db.read() as session:
        assert set(session.scalars(select(HostDevice.job_id))) == {pair}
    assert service.job(single).status == JobStatus.QUEUED


def test_a_taken_device_undoes_the_start_and_corrects_the_row(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is taken between the look at free devices and the claim."""
    settings = service.settings.model_copy(update={"devices": "cpu:1"})
    mine, others = open_devices(settings, "worker-1"), open_devices(settings, "worker-2")
    runner = Runner(settings, service.db, "worker-1", mine, ANEW)
    Sweeper(settings, service.db, "worker-1", mine, lambda _: None, lambda: 0).sweep()
    looks = [mine.states()]  # before the claim
    job_id = service.add_job()
    held = others.take(["cpu:0"], "job_faster")
    assert held is not None
    now_held = mine.states
    monkeypatch.setattr(mine, "states", lambda: looks.pop() if looks else now_held())
    assert not runner.run(job_id)
    job = service.job(job_id)
    assert (job.status, job.attempt, job.failures) == (JobStatus.QUEUED, 0, 0)
    with service.db.read() as session:
        assert session.scalars(select(HostDevice.job_id)).all() == ["job_faster"]
    with service.db.write() as session:
        device_rows.release(session, [now_held()[0].key], "job_faster")
        assert session.scalars(select(HostDevice.job_id)).all() == [None]


def test_nothing_trains_on_fake_devices(service: Service) -> None:
    job_id = service.add_job()
    with service.worker(ADAMSS_DEVICES="fake:2x24GB:a10") as worker:
        job = wait_for(service, job_id, JobStatus.FAILED)
        assert stop(worker) == 0
    assert job.error is not None
    assert job.error["code"] == "fake_devices"
