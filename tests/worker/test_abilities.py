"""Memory and abilities of a worker, read without torch."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.shared.database.tables import Worker
from service.shared.resources import Resources
from tests.worker.support import Service
from worker.abilities import find_resources
from worker.device_locks import open_devices
from worker.devices import FoundDevice
from worker.ram import available_ram
from worker.sweeper import Sweeper


def gpu(place: int, megabytes: int | None) -> FoundDevice:
    memory = None if megabytes is None else megabytes * 2**20
    return FoundDevice(f"cuda:{place}", f"GPU-{place}", "h100", memory, visible=f"GPU-{place}")


def system(folder: Path, **files: str) -> Path:
    names = {"meminfo": "proc/meminfo", "limit": "sys/fs/cgroup/memory.max", "used": "sys/fs/cgroup/memory.current"}
    for name, content in files.items():
        file = folder / names[name]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def test_ram_is_what_the_system_has_available(tmp_path: Path) -> None:
    root = system(tmp_path, meminfo="MemTotal: 900 kB\nMemAvailable: 500 kB\n")
    assert available_ram(root) == 500 * 1024
    assert available_ram(system(tmp_path, limit="max\n", used="7\n")) == 500 * 1024


def test_a_container_leaves_less(tmp_path: Path) -> None:
    root = system(tmp_path, meminfo="MemAvailable: 500 kB\n", limit="100000\n", used="40000\n")
    assert available_ram(root) == 60_000
    assert available_ram(tmp_path / "nothing") is None


def test_the_smallest_gpu_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[-2:] == ["-i", "GPU-0,GPU-1"]
        return subprocess.CompletedProcess(command, 0, "9.0\n7.5\n")

    monkeypatch.setattr("worker.nvidia.subprocess.run", answer)
    found = find_resources([gpu(0, 81_559), gpu(1, 15_360)])
    assert (found.kind, found.memory_bytes, found.bf16, found.fp16) == ("cuda", 15_360 * 2**20, False, True)


def test_a_silent_driver_leaves_the_memory_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("worker.nvidia.subprocess.run", fail)
    assert find_resources([gpu(0, None)]) == Resources(
        kind="cuda", fp16=True, quantization=find_resources([]).quantization
    )


def test_bf16_is_what_torch_says() -> None:
    import torch

    from adamss_core.training.setup import has_bf16

    assert find_resources([]).bf16 == has_bf16(torch.device("cpu"))


def test_the_sweeper_registers_them(service: Service) -> None:
    own = Resources(kind="cpu", memory_bytes=5, quantization=True)
    Sweeper(
        service.settings,
        service.db,
        "worker-1",
        open_devices(service.settings, "worker-1"),
        lambda job: None,
        lambda: 0,
        own,
    ).sweep()
    with service.db.read() as session:
        assert Resources.model_validate(session.get_one(Worker, "worker-1").resources) == own
