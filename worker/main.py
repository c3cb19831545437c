"""Start a worker: `python -m worker.main`, `adamss worker`, and a part of `adamss up`."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys

from service.shared.database.engine import Database
from service.shared.jobs.queue import Hints
from service.shared.logs import configure_logging
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings, get_settings
from worker.abilities import find_resources
from worker.app import make_app, run_app
from worker.devices import device_names, gpu_indices
from worker.priority import lower_priority
from worker.runner import Runner
from worker.sweeper import Sweeper
from worker.webhook_dispatcher import WebhookDispatcher


def run_worker(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT, then leave running jobs checkpointed and queued; return the exit status."""
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    db = Database(settings.resolved_database_url)
    hints = Hints(settings)
    gpus = gpu_indices()
    forkserver = ForkServer(["adamss_core.warm", "worker.training_process"], settings.forkserver_idle_seconds)
    runner = Runner(settings, db, worker_id, gpus, forkserver)
    sweeper = Sweeper(settings, db, worker_id, device_names(gpus), hints.send, runner.free, find_resources(gpus))
    webhooks = WebhookDispatcher(settings, db)

    def on_done() -> None:
        sweeper.wake()
        webhooks.wake()

    runner.on_done = on_done
    app = make_app(settings, runner)
    try:
        sweeper.start()
        webhooks.start()
        return run_app(app, runner, settings, f"adamss@{worker_id}")
    finally:
        runner.stop()
        forkserver.close()
        sweeper.close()
        webhooks.close()
        hints.close()
        db.close()


def main() -> int:
    lower_priority()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until Celery listens, no job runs
    configure_logging()
    return run_worker(get_settings())


if __name__ == "__main__":
    sys.exit(main())
