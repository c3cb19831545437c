"""Schemas of health."""

from __future__ import annotations

from typing import Literal

from service.http.openapi import Out


class HealthOut(Out):
    """Liveness of the process."""

    status: Literal["ok"] = "ok"
    """Always "ok"."""


class ReadyOut(Out):
    """Readiness to run jobs."""

    ready: bool
    """Whether all parts are available."""
    database: bool
    """Whether the database answers."""
    migrated: bool
    """Whether this process knows the database's schema. It does not where an older schema has not been migrated, or a
    later release has removed something: restart this process with that release."""
    broker: bool
    """Whether the broker accepts messages. Without it jobs start some seconds later."""
    worker: bool
    """Whether a worker has sent a heartbeat within the lease time."""
