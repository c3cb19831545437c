"""Find the devices of a worker without torch."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from worker.failures import FAKE_DEVICES, SEVERAL_SLICES, Failure
from worker.nvidia import query_gpus, run_smi
from worker.ram import available_ram

MEGABYTE, GIGABYTE = 2**20, 10**9
UNKNOWN_KIND = "cuda"  # of a GPU whose name nvidia-smi does not tell
# Words of a GPU's name that say nothing of its kind: maker, form, memory.
_UNTOLD = re.compile(r"nvidia|geforce|tesla|quadro|generation|pcie?|sxm\d*|hbm\d\w*|nvl|\d+gb")
_MIG = re.compile(r"^\s+MIG (?P<profile>\S+)\s.*\(UUID: (?P<uuid>MIG-[^)]+)\)")
_GPU = re.compile(r"^GPU (?P<index>\d+): (?P<name>.*) \(UUID: (?P<uuid>GPU-[^)]+)\)")


@dataclass(frozen=True)
class FoundDevice:
    """A device that a worker may train on.

    Attributes:
        name: among the worker's, such as "cuda:0" or "cpu:1".
        key: of the device itself: equal for all workers that may use it.
        kind: a label such as "h100" or "cpu".
        memory_bytes: None if unknown.
        visible: its name in CUDA_VISIBLE_DEVICES; None for a CPU.
        private: whether no other worker may use it: a place of a worker's own on a CPU that all share.
        fake: registered for tests of the scheduler; nothing trains on it.
    """

    name: str
    key: str
    kind: str
    memory_bytes: int | None = None
    visible: str | None = None
    private: bool = False
    fake: bool = False

    @property
    def is_slice(self) -> bool:
        """Tell whether this is a part of a GPU that MIG divides."""
        return (self.visible or "").startswith("MIG-")


def unfit(devices: Sequence[FoundDevice]) -> Failure | None:
    """Return why nothing can train on the devices that a job holds together; None where it can."""
    if any(device.fake for device in devices):
        return FAKE_DEVICES
    return SEVERAL_SLICES if len(devices) > 1 and any(device.is_slice for device in devices) else None


def find_devices(setting: str | None, worker_id: str, places: int) -> list[FoundDevice]:
    """Return the devices that ADAMSS_DEVICES names; by default the GPUs, or places on the CPU.

    Args:
        setting: as `Settings.devices`.
        places: on a CPU that no setting divides: as many jobs as the worker runs at a time.
    """
    if setting is None:
        return find_gpus() or _cpus(places, f"{worker_id}/", private=True)
    kind, _, rest = setting.partition(":")
    if kind == "cpu":
        return _cpus(int(rest), f"{socket.gethostname()}/", private=False)
    sizes, _, label = rest.partition(":")
    count, _, memory = sizes.partition("x")
    size = round(float(memory.removesuffix("GB")) * GIGABYTE)
    return [
        FoundDevice(f"fake:{place}", f"{worker_id}/fake:{place}", label or "fake", size, private=True, fake=True)
        for place in range(int(count))
    ]


def _cpus(count: int, owner: str, *, private: bool) -> list[FoundDevice]:
    """Return parts of the CPU, each with its share of the RAM that is available now."""
    ram = available_ram()
    share = None if ram is None else ram // count
    names = ["cpu"] if private and count == 1 else [f"cpu:{place}" for place in range(count)]
    return [FoundDevice(name, f"{owner}{name}", "cpu", share, private=private) for name in names]


def find_gpus() -> list[FoundDevice]:
    """Return the NVIDIA GPUs that this process may use, and in their place the slices of those that MIG divides."""
    chosen = _chosen()
    listed = _listed()
    if not listed:  # nvidia-smi does not answer, and CUDA_VISIBLE_DEVICES may name GPUs all the same
        host = socket.gethostname()
        return [FoundDevice(f"cuda:{one}", f"{host}/cuda:{one}", UNKNOWN_KIND, visible=one) for one in chosen or ()]
    if chosen is None:
        return listed
    return [device for one in chosen for device in listed if _is_named(device, one)]


def _chosen() -> list[str] | None:
    """Return what CUDA_VISIBLE_DEVICES names, by index or UUID; None where it is not set."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is None:
        return None
    return [one.strip() for one in visible.split(",") if one.strip() not in ("", "-1")]


def _is_named(device: FoundDevice, named: str) -> bool:
    """Tell whether an entry of CUDA_VISIBLE_DEVICES means a device: UUIDs may be cut short, an index means a GPU's
    slices too."""
    if named.isdigit():
        return device.name == f"cuda:{named}" or device.name.startswith(f"cuda:{named}/")
    return device.key.startswith(named)


def _listed() -> list[FoundDevice]:
    """Return all GPUs and slices that nvidia-smi knows."""
    memories = {uuid: memory for uuid, memory in query_gpus("uuid,memory.total") if memory.isdigit()}
    found: list[FoundDevice] = []
    gpu, slices = "", 0
    for line in run_smi("-L"):
        if (match := _GPU.match(line)) is not None:
            gpu, slices = match["index"], 0
            memory = int(memories[match["uuid"]]) * MEGABYTE if match["uuid"] in memories else None
            found.append(
                FoundDevice(f"cuda:{gpu}", match["uuid"], kind_label(match["name"]), memory, visible=match["uuid"])
            )
        elif (match := _MIG.match(line)) is not None:
            whole = found.pop() if not slices else None
            label = whole.kind if whole is not None else found[-1].kind.rpartition("-")[0]
            found.append(_slice(match["profile"], match["uuid"], f"cuda:{gpu}/{slices}", label))
            slices += 1
    return found


def _slice(profile: str, uuid: str, name: str, kind: str) -> FoundDevice:
    """Return a slice; its memory is part of the profile's name, such as 3g.40gb."""
    size = re.search(r"(\d+)gb", profile)
    memory = int(size[1]) * 2**30 if size else None
    return FoundDevice(name, uuid, f"{kind}-{profile}".lower(), memory, visible=uuid)


def kind_label(name: str) -> str:
    """Return a short label of a GPU's kind: "h100" of "NVIDIA H100 80GB HBM3"."""
    words = [word for word in re.split(r"[^a-z0-9.]+", name.lower()) if word and not _UNTOLD.fullmatch(word)]
    return "-".join(words)[:40] or UNKNOWN_KIND


def free_memory(devices: Sequence[FoundDevice]) -> dict[str, int | None]:
    """Return the bytes that nobody takes now, by the devices' names: of whole GPUs, and of the CPU's RAM."""
    free = _free_of_gpus() if any(device.visible is not None for device in devices) else {}
    ram = available_ram()
    return {device.name: _free(device, free.get(device.key), ram) for device in devices}


def _free_of_gpus() -> dict[str, str]:
    return {uuid: memory for uuid, memory, *_ in query_gpus("uuid,memory.free")}


def _free(device: FoundDevice, of_gpu: str | None, ram: int | None) -> int | None:
    if device.fake or device.memory_bytes is None:
        return device.memory_bytes
    if device.visible is None:
        return device.memory_bytes if ram is None else min(ram, device.memory_bytes)
    return int(of_gpu) * MEGABYTE if of_gpu is not None and of_gpu.isdigit() else device.memory_bytes
