"""One filled service: its API process, its database, and what a call costs both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.long_job import running_api
from benchmarks.scale.cpu_clock import children, spent
from benchmarks.scale.filling import Size, fill, fill_home
from service.cli.serve import free_port
from service.keys.service import own_key
from service.shared.database.engine import Database
from service.shared.settings import Settings
from tests.faults.compose import SECRETS
from tests.faults.postgres import Postgres
from tests.service.support import MODEL, build_model, rows

SPEC = {"name": "reviews", "base_model": MODEL, "adamss": {"target_modules": ["query", "value"]}}
PASSWORD = SECRETS["POSTGRES_PASSWORD"]


class Target:
    """A running API on a filled database.

    Attributes:
        spec: of a job that it accepts.
        seconds: that filling took.
    """

    def __init__(self, settings: Settings, size: Size, api: int, server: int | None, client: httpx.Client) -> None:
        self.settings, self.size, self.client = settings, size, client
        self._api, self._server = api, server
        self.db = Database(settings.resolved_database_url)
        uploaded = client.post("/datasets", files={"file": ("rows.csv", rows())})
        self.spec: dict[str, Any] = SPEC | {"dataset": {"train": uploaded.json()["id"]}}
        submitted = client.post("/jobs", json=self.spec)
        submitted.raise_for_status()
        begin = time.monotonic()
        fill(self.db, size, submitted.json()["id"])
        fill_home(self.db, settings.files)
        self.seconds = time.monotonic() - begin

    def pids(self) -> Iterator[int]:
        yield self._api
        if self._server is not None:
            yield from children(self._server)

    def cost(self, call: Callable[[], httpx.Response]) -> tuple[float, float]:
        """Make a call; return the milliseconds of processor time and of waiting that it took."""
        before, begin = spent(self.pids()), time.perf_counter()
        answer = call()
        waited = time.perf_counter() - begin
        answer.raise_for_status()
        return spent(self.pids()) - before, 1000 * waited


@contextmanager
def running_target(folder: Path, size: Size, kind: str) -> Iterator[Target]:
    """Start an API on an empty database, and fill it.

    Args:
        kind: "sqlite" or "postgresql".
    """
    settings = Settings(home=folder / "home", port=free_port("127.0.0.1"))
    build_model(settings.files.model(MODEL))
    server = Postgres() if kind == "postgresql" else None
    if server is not None:
        url = f"postgresql+psycopg://adamss:{PASSWORD}@{server.address}/adamss"
        settings = settings.model_copy(update={"database_url": url})
    try:
        with running_api(settings) as api, httpx.Client(base_url=settings.resolved_url, timeout=300) as client:
            client.headers["authorization"] = f"Bearer {own_key(settings)}"
            target = Target(settings, size, api.pid, None if server is None else server.pids()[0], client)
            yield target
            target.db.close()
    finally:
        if server is not None:
            server.close()
