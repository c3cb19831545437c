"""The Celery side of a worker: receives hints and hands each to a thread.

The pool is `threads`. A task here only waits for a training process, so there is nothing for several processes to do
in parallel, and one process keeps one engine, one sweeper and one place that hears SIGTERM: prefork's children ignore
it and would have to be told by other means, and `solo` runs a single job and reads no signal of the queue meanwhile.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

from celery import Celery, bootsteps, signals
from celery.exceptions import SecurityWarning
from celery.worker import state

from service.shared.jobs.queue import make_celery
from service.shared.settings import Settings
from worker.tasks import Runner, register

POLL_SECONDS = 0.25  # between looks into the folder of the filesystem transport; kombu's default is 1 s


def make_app(settings: Settings, runner: Runner) -> Celery:
    """An app whose only task is the runner's."""
    app = make_celery(settings)
    options: dict[str, Any] = app.conf.broker_transport_options
    app.conf.broker_transport_options = options | {"polling_interval": POLL_SECONDS}
    register(app, runner)
    app.steps["consumer"].add(_take_only_what_runs(settings.worker_concurrency))
    app.steps["worker"].add(_stop_first(runner))
    return app


def _take_only_what_runs(concurrency: int) -> type[bootsteps.StartStopStep]:
    """Celery fetches a message ahead for every busy thread, and an idle worker elsewhere would not see it."""

    class TakeOnlyWhatRuns(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            qos = consumer.task_consumer.channel.qos
            allowed = qos.can_consume
            qos.can_consume = lambda: len(state.reserved_requests) < concurrency and allowed()

    return TakeOnlyWhatRuns


def _stop_first(runner: Runner) -> type[bootsteps.StartStopStep]:
    """Before the pool waits for its threads, whatever ends the worker, the jobs are told to come to an end."""

    class StopFirst(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.components:Pool",)

        def stop(self, worker: Any) -> None:
            runner.stop()

        def close(self, worker: Any) -> None:
            runner.stop()

        terminate = stop

    return StopFirst


def run_app(app: Celery, runner: Runner, settings: Settings, name: str) -> int:
    """Works until SIGTERM or SIGINT; returns the exit status."""

    def on_signal(**_: Any) -> None:  # at once; the step above would wait for the consumer's current look at the queue
        runner.stop()

    def keep_logging(**_: Any) -> None:
        """Being connected is enough: Celery then leaves the handlers alone."""

    # Celery warns of root, for the sake of pickled messages, which are refused here; and kombu of a URL without host.
    warnings.simplefilter("ignore", SecurityWarning)
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)
    # What becomes of a hint is told by the task itself.
    for quiet in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
    signals.setup_logging.connect(keep_logging)
    signals.worker_shutting_down.connect(on_signal)
    worker = app.Worker(
        hostname=name,
        pool_cls="threads",
        concurrency=settings.worker_concurrency,
        loglevel="INFO",
        quiet=True,
        redirect_stdouts=False,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    try:
        worker.start()
    finally:
        signals.worker_shutting_down.disconnect(on_signal)
        signals.setup_logging.disconnect(keep_logging)
    return int(worker.exitcode or 0)
