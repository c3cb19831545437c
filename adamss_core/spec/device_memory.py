"""Estimate the memory of each device of a job, for any number of devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adamss_core.spec.facts import LinearModule, ModelFacts
from adamss_core.spec.job import JobSpec
from adamss_core.spec.lengths import BatchShape, Lengths, largest_batch
from adamss_core.spec.memory import Device, MemoryPhases, Sizes, device_memory, process_memory
from adamss_core.spec.resources_spec import MOST_DEVICES


@dataclass(frozen=True)
class MemoryNeed:
    """Memory of each device.

    Attributes:
        bytes: with the rows that one device has of the largest step.
        least: with one row at a time, which is as far as batches are halved where memory runs out.
        phases: of the first process, with the job's own adapter; None on a GPU.
    """

    bytes: int
    least: int
    phases: MemoryPhases | None


@dataclass(frozen=True)
class MemoryOfJob:
    """What a job needs, as a function of the number of its devices.

    Attributes:
        sizes: of each adapter that is trained, one after the other; the job's own first.
    """

    spec: JobSpec
    facts: ModelFacts
    modules: Sequence[LinearModule]
    sizes: Sequence[Sizes]
    lengths: Lengths
    device: Device

    def on(self, devices: int, *, sharded: bool = False) -> MemoryNeed:
        """Return the need of each of `devices`; `sharded`: the frozen blocks of the base are divided among them."""
        rows = self.rows_of(devices)
        parts = devices if sharded else 1
        batch, row = (largest_batch(self.spec, self.facts, self.lengths, count) for count in (rows, 1))
        own = self._phases(self.sizes[0], batch, parts) if self.device.kind == "cpu" else None
        return MemoryNeed(
            bytes=max(self._peak(sizes, batch, parts) for sizes in self.sizes),
            least=max(self._peak(sizes, row, parts) for sizes in self.sizes),
            phases=own,
        )

    def rows_of(self, devices: int) -> int:
        """Return how many rows go through the model at once on each device: a step's rows are divided first."""
        training = self.spec.training
        share = -(-training.batch_size * training.gradient_accumulation_steps // devices)
        return min(training.batch_size, share)

    def fewest(self, available: int, *, sharded: bool = False, least: bool = False) -> int | None:
        """Return the smallest number of devices with this much memory that suffices; None if none does.

        Args:
            least: with one row at a time.
        """
        for devices in range(2 if sharded else 1, MOST_DEVICES + 1):
            need = self.on(devices, sharded=sharded)
            if (need.least if least else need.bytes) <= available:
                return devices
            if not sharded and (least or self.rows_of(devices) == 1):
                return None  # more copies hold no fewer rows each
        return None

    def _peak(self, sizes: Sizes, batch: BatchShape, parts: int) -> int:
        if self.device.kind == "cuda":
            return device_memory(self.spec, self.facts, sizes, batch, parts)
        return self._phases(sizes, batch, parts).peak

    def _phases(self, sizes: Sizes, batch: BatchShape, parts: int) -> MemoryPhases:
        return process_memory(self.spec, self.facts, self.modules, sizes, batch, self.device.bf16, parts)
