"""Starts the topology of docker-compose.yml without Docker: `python -m tests.faults.production [workers]`.

PostgreSQL, Redis, one API and workers, as real processes with the environment of the compose file. Ctrl-C stops them.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from service.base_models import inspection
from tests.faults import compose
from tests.faults.postgres import Postgres
from tests.faults.topology import KEY, Topology
from tests.processes import FORKSERVER
from tests.service.support import build_model
from tests.worker.redis_server import RedisServer


def main(workers: int = 2) -> None:
    folder = Path(tempfile.mkdtemp(prefix="adamss-production-"))
    model = build_model(folder / "tiny")
    postgres = Postgres()
    redis = RedisServer(folder, compose.command("redis", compose.SECRETS)[1:], compose.SECRETS["REDIS_PASSWORD"])
    facts = inspection.inspect(FORKSERVER, str(model), None, local=True)
    topology = Topology(
        folder / "home", "production", model=model, facts=facts, postgres=postgres, redis=redis, fake=False
    )
    try:
        topology.api()
        started = [topology.start_worker() for _ in range(workers)]
        print(f"{topology.settings.resolved_url}  key {KEY}  home {topology.settings.resolved_home}")
        print(f"base model tiny; {len(started)} workers; Ctrl-C stops", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
        for worker in started:
            worker.ask_to_stop()
        for worker in started:
            worker.wait()
    finally:
        topology.close()
        redis.stop()
        postgres.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
