"""Start a worker: `python -m worker.main`, `adamss worker`, and a part of `adamss up`."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
from time import sleep

from sqlalchemy.exc import SQLAlchemyError

from service.shared.database.engine import WORKER_CONNECTIONS, Database
from service.shared.database.schema import SchemaState, current_revision, refuse_unknown, state_of
from service.shared.errors import StartRefused
from service.shared.logs import configure_logging
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings, get_settings
from service.shared.storage.pairing import open_paired_files, pair, refuse_mismatch
from service.shared.storage.permissions import keep_private
from service.shared.storage.store_errors import StorageMisconfigured, StorageUnavailable
from worker.abilities import find_resources
from worker.app import make_app, run_app
from worker.device_locks import open_devices
from worker.expired_files import Retention
from worker.file_collector import FileCollector
from worker.metrics_archiver import MetricsArchiver
from worker.periodic_thread import PeriodicThread
from worker.priority import lower_priority
from worker.runner import Runner
from worker.sweep_driver import SweepDriver
from worker.sweeper import Sweeper
from worker.webhook_dispatcher import WebhookDispatcher

logger = logging.getLogger(__name__)

COLLECT_EVERY = 20  # sweeps between two collections of files
PASS_LEASES = 10  # leases of a job until a dead worker's collection is taken over: one step of it may take a while


def run_worker(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT, then leave running jobs checkpointed and queued; return the exit status.

    Raises:
        StartRefused: the database belongs to another home folder, or a later release has taken something out of it.
    """
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    db = Database(settings.resolved_database_url, WORKER_CONNECTIONS + settings.worker_concurrency)
    wait_for_database(settings, db)
    host_files = open_paired_files(settings, db)
    devices = open_devices(settings, worker_id)
    forkserver = ForkServer(["adamss_core.warm", "worker.training_process"], settings.forkserver_idle_seconds)
    runner = Runner(settings, db, worker_id, devices, forkserver, host_files)
    resources = find_resources(devices.devices).model_copy(update={"slots": settings.worker_concurrency})
    jobs = (runner.start, runner.free, resources, runner.give_back_all)
    sweeper = Sweeper(settings, db, worker_id, devices, *jobs)
    webhooks = WebhookDispatcher(settings, db)
    times = {
        "seconds": COLLECT_EVERY * settings.sweep_seconds,
        "pass_seconds": PASS_LEASES * settings.lease_seconds,
    }
    periodic: list[PeriodicThread] = [sweeper, webhooks, FileCollector(db, settings.files, host_files, **times)]
    periodic.append(Retention(settings, db, host_files, **times))
    if settings.archive_metrics_days is not None:
        periodic.append(MetricsArchiver(db, settings.files, settings.archive_metrics_days, host_files, **times))

    sweeps = SweepDriver(settings, db, host_files, sweeper.wake)
    periodic.append(sweeps)

    def on_done() -> None:
        sweeps.wake()
        sweeper.wake()
        webhooks.wake()

    runner.on_done = on_done
    app = make_app(settings, runner)
    try:
        for thread in periodic:
            thread.start()
        return run_app(app, runner, settings, f"adamss@{worker_id}")
    finally:
        runner.stop()
        forkserver.close()
        for thread in periodic:
            thread.close()
        db.close()


def wait_for_database(settings: Settings, db: Database) -> None:
    """Wait until the database answers and an API has migrated it; then check that it is the home folder's own.

    Raises:
        StartRefused: the database belongs to another home folder, or a later release has taken something out of it.
    """
    while True:
        try:
            refuse_mismatch(settings, db)  # first: a wrong database must not be waited for
            if _is_migrated(db):
                pair(settings, db)
                return
            logger.warning("waiting for the database: an API of this release must migrate it first")
        except SQLAlchemyError as error:
            logger.warning("waiting for the database: %s", str(error).splitlines()[0])
        except StorageUnavailable as error:  # it would say whether this host belongs to the database
            if isinstance(error, StorageMisconfigured):
                raise
            logger.warning("waiting for the store of files: %s", error)
        sleep(settings.sweep_seconds)


def _is_migrated(db: Database) -> bool:
    """Return whether the database has at least this release's schema.

    Raises:
        StartRefused: a later release has taken something away.
    """
    with db.read() as session:
        revision = current_revision(session.connection())
    refuse_unknown(revision)
    return state_of(revision) is not SchemaState.OLDER


def main() -> int:
    lower_priority()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until Celery handles signals, no job runs
    configure_logging()
    keep_private(get_settings().resolved_home)
    try:
        return run_worker(get_settings())
    except StartRefused as error:
        logger.error("%s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
