"""Calls about workers, the queue and the use of devices."""

from __future__ import annotations

from typing import cast

from service.client.fleet_types import QueueJson, UsageJson, WorkersJson
from service.client.sender import Sender


class FleetCalls(Sender):
    """Workers, queue and use."""

    def workers(self) -> WorkersJson:
        """List the workers that live, what they run, and the hosts that are drained."""
        return cast(WorkersJson, self._get("/workers"))

    def drain(self, host: str, *, move: bool = False) -> WorkersJson:
        """Let the workers of a host start nothing new; needs an admin's key.

        Args:
            move: have its running jobs write a checkpoint and go on wherever a worker is free.
        """
        return cast(WorkersJson, self._send("POST", "/workers/drain", json={"host": host, "move": move}).json())

    def undrain(self, host: str) -> WorkersJson:
        """Let the workers of a drained host work again; needs an admin's key."""
        return cast(WorkersJson, self._send("POST", "/workers/undrain", json={"host": host}).json())

    def queue(self) -> QueueJson:
        """List the project's waiting jobs in the order of their expected starts, with why each waits."""
        return cast(QueueJson, self._get("/queue"))

    def usage(self, month: str | None = None) -> UsageJson:
        """Show the device hours of a month by project and owner, and what the project may use.

        Args:
            month: such as 2026-11; by default this one.
        """
        return cast(UsageJson, self._get("/usage", {} if month is None else {"month": month}))
