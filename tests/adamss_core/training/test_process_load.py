from __future__ import annotations

import time

import pytest
import torch

from adamss_core.training.process_load import ProcessLoad


def test_a_busy_process_is_told_from_an_idle_one() -> None:
    load = ProcessLoad(torch.device("cpu"))
    begun = time.process_time()
    while time.process_time() - begun < 0.3:
        pass
    busy = load.values()["cpu_percent"]
    time.sleep(0.3)
    idle = load.values()["cpu_percent"]
    assert busy is not None
    assert idle is not None
    assert busy > 2 * idle


def test_memory_is_what_the_process_holds() -> None:
    load = ProcessLoad(torch.device("cpu"))
    before = load.values()["process_memory_bytes"]
    held = torch.ones(25_000_000)  # 100 MB
    after = load.values()["process_memory_bytes"]
    assert before is not None
    assert after is not None
    assert after - before > 0.9 * held.nbytes
    assert set(load.values()) == {"cpu_percent", "process_memory_bytes"}


def test_a_gpu_adds_its_own_and_a_missing_nvml_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def missing(device: object) -> int:
        asked.append(device)
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 123)
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 87)
    found = ProcessLoad(torch.device("cuda")).values()
    assert (found["gpu_memory_bytes"], found["gpu_percent"]) == (123, 87)
    monkeypatch.setattr(torch.cuda, "utilization", missing)
    load = ProcessLoad(torch.device("cuda"))
    assert "gpu_percent" not in load.values()
    assert "gpu_percent" not in load.values()
    assert len(asked) == 1
