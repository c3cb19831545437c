"""Measure the use of CPU, memory and GPU by the process that trains."""

from __future__ import annotations

import psutil
import torch

from adamss_core.training.request import Values


class ProcessLoad:
    """Readings of this process and its device; none of them waits for the device.

    Args:
        device: on which the run trains.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._process = psutil.Process()
        self._process.cpu_percent()  # the next reading is the mean since this one
        self._has_nvml = device.type == "cuda"

    def values(self) -> Values:
        """Return the readings.

        `cpu_percent` is the mean since the last call, 100 for a whole core; `process_memory_bytes` what the process
        holds by now. Of a GPU, `gpu_memory_bytes` is what torch has reserved, and `gpu_percent` the share of the last
        moments in which it computed, for any process; it is left out where no NVML is installed.
        """
        with self._process.oneshot():
            found: Values = {
                "cpu_percent": self._process.cpu_percent(),
                "process_memory_bytes": self._process.memory_info().rss,
            }
        if self._device.type == "cuda":
            found["gpu_memory_bytes"] = torch.cuda.memory_reserved(self._device)
            found |= self._utilisation()
        return found

    def _utilisation(self) -> Values:
        if not self._has_nvml:
            return {}
        try:
            return {"gpu_percent": torch.cuda.utilization(self._device)}
        except (ModuleNotFoundError, RuntimeError):  # no nvidia-ml-py, or no driver that answers it
            self._has_nvml = False
            return {}
