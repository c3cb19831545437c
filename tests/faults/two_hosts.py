"""Two hosts with home folders of their own, which share PostgreSQL, Redis and a real S3 server, and nothing else.

A path that one host's processes open below the other's home folder is refused, and noted: see `opened_elsewhere`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from tests.faults.postgres import Postgres
from tests.faults.topology import Topology
from tests.object_server import BUCKET, ObjectServer
from tests.worker.redis_server import RedisServer

# Imported by each process of a host before anything else, and inherited by those that are forked.
WATCH = """
import os, sys
FORBIDDEN, NOTE = {forbidden!r}, {note!r}

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(FORBIDDEN):
            with open(NOTE, "a") as note:
                note.write(path + chr(10))
            raise PermissionError(13, "of another host", path)

sys.addaudithook(watch)
"""


class Host(Topology):
    """One host: an API and workers on a home folder that no other host sees."""

    watch: Path
    store_environment: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.store_environment

    @property
    def python_path(self) -> str:
        return os.pathsep.join([str(self.watch), super().python_path])

    def die(self) -> None:
        """End all processes without a word, and lose the disk."""
        for process in self._started:
            process.kill()
        shutil.rmtree(self.settings.resolved_home)


class TwoHosts:
    """Hosts `a`, which migrates the database, and `b`, which joins with an empty home folder but the base model.

    Args:
        endpoint: of a proxy before the server of objects.
    """

    def __init__(
        self,
        folder: Path,
        *,
        postgres: Postgres,
        redis: RedisServer,
        server: ObjectServer,
        endpoint: str | None = None,
        **parts: Any,
    ) -> None:
        self._folder = folder
        common: dict[str, Any] = {**parts, "postgres": postgres, "redis": redis, "fake": False}
        self.b = Host(folder / "host-b", "production", migrated=False, **common)
        self.a = Host(folder / "host-a", "production", **common)  # the last one has emptied the database
        url = f"s3://{BUCKET}/{secrets.token_hex(6)}"
        for host, other in ((self.a, self.b), (self.b, self.a)):
            host.settings = host.settings.model_copy(update={"storage_url": url})
            host.store_environment = server.environment(endpoint=endpoint)
            host.watch = folder / f"watch-{host.settings.resolved_home.name}"
            host.watch.mkdir()
            source = WATCH.format(forbidden=f"{other.settings.resolved_home}{os.sep}", note=str(self._note))
            (host.watch / "sitecustomize.py").write_text(source)

    @property
    def _note(self) -> Path:
        return self._folder / "opened-elsewhere"

    def opened_elsewhere(self) -> list[str]:
        """Paths below the other host's home folder that a process has tried to open."""
        return self._note.read_text().splitlines() if self._note.exists() else []

    def close(self) -> None:
        self.a.close()
        self.b.close()
