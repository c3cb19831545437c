"""Send queued webhooks until each is delivered or has been tried often enough.

Each try is claimed by compare-and-set, which sets the time of the next one: when the worker dies between the claim and
the request, or between the response and its record, another worker sends it again. So a webhook is delivered at least
once, under the same id.
"""

from __future__ import annotations

import logging
from collections import Counter
from datetime import timedelta
from random import uniform
from threading import Lock, Thread
from time import monotonic

import httpx
from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError

from service.shared.database.clock import database_now
from service.shared.database.engine import Database
from service.shared.database.tables import Delivery, Job, now
from service.shared.jobs.states import add_event
from service.shared.settings import Settings
from worker.periodic_thread import PeriodicThread
from worker.webhook_request import TOTAL_SECONDS, post

logger = logging.getLogger(__name__)

MOST_TRIES = 15  # over about two days
LONGEST_PAUSE = 6 * 3_600.0
AT_ONCE = 32
PROJECT_AT_ONCE = 4
_GONE = 410  # the receiver asks for no further tries


class WebhookDispatcher(PeriodicThread):
    """Send due deliveries, every `sweep_seconds` and when woken."""

    join_seconds = 2.0  # another worker repeats a request that is cut off

    def __init__(self, settings: Settings, db: Database) -> None:
        super().__init__("webhooks", settings.sweep_seconds)
        self._settings, self._db = settings, db
        self._lock = Lock()
        self._under_way: Counter[str | None] = Counter()  # tries by project
        self._threads: list[Thread] = []

    def round(self) -> None:
        try:
            self.deliver()
        except (SQLAlchemyError, OSError) as error:
            logger.warning("webhooks put off: %r", error)

    def close(self) -> None:
        super().close()
        until = monotonic() + self.join_seconds
        for thread in self._threads:
            thread.join(max(0.0, until - monotonic()))

    def deliver(self) -> list[Thread]:
        """Begin a try of each due delivery that there is room for; return the threads of all that are under way."""
        for message_id, project in self._due():
            with self._lock:
                full = self._under_way.total() >= AT_ONCE or self._under_way[project] >= PROJECT_AT_ONCE
            if self._closing or full or (delivery := self._claim(message_id)) is None:
                continue
            with self._lock:
                self._under_way[project] += 1
            thread = Thread(target=self._try, args=(delivery, project), name=f"webhook {message_id}", daemon=True)
            self._threads = [*(other for other in self._threads if other.is_alive()), thread]
            thread.start()
        return list(self._threads)

    def _due(self) -> list[tuple[str, str | None]]:
        """Return due deliveries with their projects, few of each project; a deleted job has none."""
        with self._db.read() as session:
            turn = func.row_number().over(partition_by=Job.project_id, order_by=Delivery.next_at).label("turn")
            due = (
                select(Delivery.id, Job.project_id, turn)
                .outerjoin(Job, Job.id == Delivery.job_id)
                .where(Delivery.next_at <= database_now(session))
                .subquery()
            )
            few = select(due.c.id, due.c.project_id).where(due.c.turn <= PROJECT_AT_ONCE).order_by(due.c.turn)
            return [(message_id, project) for message_id, project in session.execute(few.limit(AT_ONCE))]

    def _try(self, delivery: Delivery, project: str | None) -> None:
        """Send a delivery and record how it went; then look for deliveries that waited for room."""
        try:
            self._record(delivery, *self._send(delivery))
        except SQLAlchemyError as error:  # not recorded: it is due again
            logger.warning("the result of webhook %s is lost: %r", delivery.id, error)
        finally:
            with self._lock:
                self._under_way[project] -= 1
            self.wake()

    def _claim(self, message_id: str) -> Delivery | None:
        """Count a try and set the time of the next one; None if another worker was faster."""
        with self._db.write() as session:
            moment = database_now(session)
            claimed = session.execute(
                update(Delivery)
                .where(Delivery.id == message_id, Delivery.next_at <= moment)
                .values(tries=Delivery.tries + 1, next_at=moment + timedelta(seconds=2 * TOTAL_SECONDS))
                .returning(Delivery.id)
            ).first()
            return session.get(Delivery, message_id, populate_existing=True) if claimed else None

    def _send(self, delivery: Delivery) -> tuple[str | None, bool]:
        """Send the request; return the problem, if any, and whether another try makes sense."""
        try:
            status = post(self._settings, delivery)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
            return f"{type(error).__name__}: {error}"[:500], True
        if 200 <= status < 300:
            return None, False
        return f"It answered with status {status}.", status != _GONE

    def _record(self, delivery: Delivery, problem: str | None, again: bool) -> None:
        again = again and delivery.tries < MOST_TRIES
        pause = min(self._settings.heartbeat_seconds * 2 ** (delivery.tries - 1), LONGEST_PAUSE) * uniform(0.8, 1.2)
        with self._db.write() as session:
            row = session.get_one(Delivery, delivery.id, populate_existing=True)
            row.problem = problem
            row.delivered_at = now() if problem is None else None
            row.next_at = database_now(session) + timedelta(seconds=pause) if again else None
            job = session.execute(select(Job).where(Job.id == row.job_id).with_for_update()).scalar_one_or_none()
            if job is not None and not again:  # the job may have been deleted
                details = {"id": row.id, "tries": row.tries, "problem": problem}
                if problem is None:
                    add_event(session, job, "webhook_delivered", "The webhook was delivered.", details)
                else:
                    add_event(session, job, "webhook_failed", f"The webhook was given up. {problem}", details)
