"""Sending of wake-up hints: messages with a job's id and nothing else. No other module sends messages.

The job's row owns the job. A lost hint costs a few seconds, until a free worker's sweeper looks for jobs.
"""

from __future__ import annotations

import logging
import math
import os
import time
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

from service.shared.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger(__name__)

RUN_JOB = "adamss.run_job"
QUEUE = "adamss"
BROKER_SECONDS = 2.0
PENDING_HINTS = 1_000
FOLDER_TRANSPORT = "service.shared.jobs.transports.folder:FolderTransport"
REDIS_TRANSPORT = "service.shared.jobs.transports.redis:RedisTransport"


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return Celery's settings, equal for the sending API and the receiving worker."""
    return {
        "broker_url": settings.broker_url,
        # kombu's transports, with atomic messages, and with malformed messages dropped instead of crashing the worker.
        "broker_transport": FOLDER_TRANSPORT if _in_folder(settings) else REDIS_TRANSPORT,
        "broker_transport_options": _transport_options(settings),
        "broker_connection_timeout": BROKER_SECONDS,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # a worker waits for its broker without limit
        "task_default_queue": QUEUE,
        "task_ignore_result": True,
        # Only an expired lease makes a job run again, never Celery's redelivery.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_prefetch_multiplier": 1,
        # A message is one id in JSON; other content types are dropped unread.
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # Cancel and pause are columns of the row, not broadcasts.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "task_publish_retry": False,
    }


def make_celery(settings: Settings) -> Celery:
    """Make a Celery app on the configured broker."""
    from celery import Celery

    app = Celery(QUEUE, set_as_current=False)
    app.config_from_object(celery_config(settings))
    return app


def broker_answers(settings: Settings) -> bool:
    """Tell whether the broker accepts messages now; takes at most a few seconds."""
    if _in_folder(settings):
        return os.access(settings.files.queue, os.W_OK)
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with Redis.from_url(
            settings.broker_url, socket_timeout=BROKER_SECONDS, socket_connect_timeout=BROKER_SECONDS
        ) as client:
            return bool(client.ping())
    except (RedisError, OSError):
        return False


class Hints:
    """Sender of hints with a thread of its own, so that a dead or silent broker neither fails nor slows a request."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pending: Queue[str] = Queue(PENDING_HINTS)
        self._until = math.inf
        self._thread = Thread(target=self._run, name="hints", daemon=True)
        self._thread.start()

    def send(self, job_id: str) -> None:
        """Queue a hint and return at once; workers also look for jobs by themselves."""
        try:
            self._pending.put_nowait(job_id)
        except Full:
            logger.warning("hint dropped: too many hints are waiting for the broker", extra={"job_id": job_id})

    def close(self, timeout: float = BROKER_SECONDS) -> None:
        """Send the waiting hints, for at most `timeout` seconds."""
        self._until = time.monotonic() + timeout
        self._thread.join(timeout)

    def _run(self) -> None:
        app: Celery | None = None
        while time.monotonic() < self._until:
            try:
                job_id = self._pending.get(timeout=0.2)
            except Empty:
                if self._until < math.inf:  # closing, and no hint is left
                    break
                continue
            try:
                app = app or make_celery(self._settings)
                app.send_task(RUN_JOB, args=[job_id], queue=QUEUE, ignore_result=True, retry=False)
            except Exception as error:  # the broker's client may raise anything; workers look by themselves
                logger.warning("hint not sent", extra={"job_id": job_id, "reason": type(error).__name__})
        if app is not None:
            with suppress(Exception):
                app.close()


def _in_folder(settings: Settings) -> bool:
    return settings.broker_url.startswith("filesystem")


def _transport_options(settings: Settings) -> dict[str, Any]:
    if _in_folder(settings):
        return {
            "data_folder_in": str(settings.files.queue_messages),
            "data_folder_out": str(settings.files.queue_messages),
            "control_folder": str(settings.files.queue_control),
            # Rename inside the home folder; kombu's default moves messages through the system's /tmp.
            "store_processed": True,
            "processed_folder": str(settings.files.queue_processed),
        }
    return {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS, "socket_keepalive": True}
