"""The processes from which the services of a test run fork those that read models and files: one of each for all."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from service.datasets.upload import reader_server
from service.shared.processes.forkserver import ForkServer
from service.shared.processes.spawned_process import Launch, Process, SpawnedProcess

FORKSERVER = ForkServer(["adamss_core.warm"], idle_seconds=600)
READERS = reader_server(idle_seconds=600)
ANEW = ForkServer([], idle_seconds=0)


class Scripted(ForkServer):
    """Start a script in the place of any module."""

    def __init__(self, script: str) -> None:
        super().__init__([], idle_seconds=0)
        self._script = script

    def start(self, module: str, arguments: Sequence[str], launch: Launch) -> Process:
        return SpawnedProcess([sys.executable, "-c", self._script], launch)
