"""Run Celery in a worker: receive hints and hand each to the runner.

The pool is `threads`. A task only has the runner start a thread, so several processes would gain nothing, and one
process keeps one engine, one sweeper and one handler of SIGTERM: prefork's children ignore it and would need another
signal, and `solo` runs a single job and reads nothing from the queue meanwhile.
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
from worker.runner import Runner, register

POLL_SECONDS = 0.25  # between looks into the folder of the filesystem transport; kombu's default is 1 s


def make_app(settings: Settings, runner: Runner) -> Celery:
    """Make an app whose only task is the runner's."""
    app = make_celery(settings)
    options: dict[str, Any] = app.conf.broker_transport_options
    app.conf.broker_transport_options = options | {"polling_interval": POLL_SECONDS}
    register(app, runner)
    app.steps["consumer"].add(_limit_prefetch(runner))
    app.steps["worker"].add(_begin_and_end(runner))
    return app


def _limit_prefetch(runner: Runner) -> type[bootsteps.StartStopStep]:
    """Keep Celery from fetching more messages than jobs could begin: an idle worker elsewhere could take them."""

    class LimitPrefetch(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            qos = consumer.task_consumer.channel.qos
            allowed = qos.can_consume
            qos.can_consume = lambda: len(state.reserved_requests) < runner.free() and allowed()

    return LimitPrefetch


def _begin_and_end(runner: Runner) -> type[bootsteps.StartStopStep]:
    """Let jobs start once Celery handles signals, whether or not the broker answers; ask them to end, whatever ends the
    worker, and wait for them unless it must end at once.
    """

    class BeginAndEnd(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.components:Pool",)

        def start(self, worker: Any) -> None:
            runner.begin()

        def close(self, worker: Any) -> None:
            runner.stop()

        def stop(self, worker: Any) -> None:
            runner.stop()
            runner.wait()

        def terminate(self, worker: Any) -> None:
            runner.stop()

    return BeginAndEnd


def run_app(app: Celery, runner: Runner, settings: Settings, name: str) -> int:
    """Work until SIGTERM or SIGINT; return the exit status."""

    def on_signal(**_: Any) -> None:  # at once: the step above waits for the consumer to poll the queue
        runner.stop()

    def keep_logging(**_: Any) -> None:
        """Do nothing: a connected receiver makes Celery leave the handlers alone."""

    # Celery warns of root, for the sake of pickled messages, which are refused here; and kombu of a URL without host.
    warnings.simplefilter("ignore", SecurityWarning)
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)
    # The task itself logs the result of a hint.
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
