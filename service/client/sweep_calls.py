"""Calls on sweeps: the best of many runs of a spec."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, cast

from service.client.sender import Sender, patiently
from service.client.sweep_types import ImportanceJson, SweepJson, SweepPlanJson, SweepSummaryJson
from service.client.types import Listing

ENDED_SWEEPS = ("succeeded", "cancelled")


class SweepCalls(Sender):
    """Sweeps."""

    def sweep(
        self,
        spec: Mapping[str, Any],
        space: Mapping[str, Any] | str = "quick",
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> SweepJson:
        """Look for the best of many runs of a spec; `wait_sweep` for it.

        Args:
            space: what fields may be, by their paths, such as {"training.learning_rate": {"min": 1e-3, "max": 2e-2,
                "log": True}, "adamss.r": {"values": [50, 100]}}; or "quick" or "thorough".
            options: trials, parallel, objective, stop, seeds, keep, time_limit_seconds, device_hours, name,
                sampler_seed.
        """
        headers = {"idempotency-key": idempotency_key or uuid.uuid4().hex}
        body = _body(spec, space, options)
        return cast(SweepJson, self._send("POST", "/sweeps", json=body, headers=headers, repeat=True).json())

    def dry_run_sweep(
        self, spec: Mapping[str, Any], space: Mapping[str, Any] | str = "quick", **options: Any
    ) -> SweepPlanJson:
        """Return the trials that a sweep would run, and those that it would refuse; create nothing."""
        body = _body(spec, space, options)
        answer = self._send("POST", "/sweeps", params={"dry_run": "true"}, json=body, repeat=True)
        return cast(SweepPlanJson, answer.json())

    def list_sweeps(self, limit: int = 50) -> Listing[SweepSummaryJson]:
        """List sweeps, newest first, without their trials."""
        return self._listing("/sweeps", {}, limit)

    def get_sweep(self, sweep: str) -> SweepJson:
        return cast(SweepJson, self._get(f"/sweeps/{sweep}"))

    def sweep_importance(self, sweep: str) -> ImportanceJson:
        """Return how much each field of the space mattered, as shares of 1."""
        return cast(ImportanceJson, self._get(f"/sweeps/{sweep}/importance"))

    def cancel_sweep(self, sweep: str) -> SweepJson:
        return self._moved(sweep, "cancel")

    def pause_sweep(self, sweep: str) -> SweepJson:
        """Pause a sweep: running trials write a checkpoint, and no other starts."""
        return self._moved(sweep, "pause")

    def resume_sweep(self, sweep: str) -> SweepJson:
        return self._moved(sweep, "resume")

    def delete_sweep(self, sweep: str) -> None:
        """Delete an ended sweep; its jobs stay, as jobs of their own."""
        self._send("DELETE", f"/sweeps/{sweep}")

    def wait_sweep(
        self,
        sweep: str,
        timeout: float | None = None,
        on_update: Callable[[SweepJson], None] | None = None,
        poll_seconds: float = 1.0,
    ) -> SweepJson:
        """Wait until all trials have ended.

        Args:
            timeout: seconds; None waits for ever.
            on_update: called with the sweep after each change.

        Raises:
            TimeoutError: the sweep has not ended in time; it continues.
        """
        until = None if timeout is None else time.monotonic() + timeout
        seen: SweepJson | None = None
        while True:
            current = patiently(lambda: self.get_sweep(sweep))
            if current != seen and on_update is not None:
                on_update(current)
            seen = current
            if current["status"] in ENDED_SWEEPS:
                return current
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"Sweep {sweep} is still {current['status']} after {timeout:g} seconds.")
            time.sleep(poll_seconds)

    def _moved(self, sweep: str, verb: str) -> SweepJson:
        return cast(SweepJson, self._send("POST", f"/sweeps/{sweep}/{verb}").json())


def _body(spec: Mapping[str, Any], space: Mapping[str, Any] | str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"spec": dict(spec), "space": space if isinstance(space, str) else dict(space), **options}
