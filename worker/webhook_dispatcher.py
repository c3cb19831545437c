"""Send queued webhooks until each is delivered or has been tried often enough.

Each try is claimed by compare-and-set, which sets the time of the next one: when the worker dies between the claim and
the request, or between the response and its record, another worker sends it again. So a webhook is delivered at least
once, under the same id.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address
from random import uniform

import httpx
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from service.shared.database.clock import database_now
from service.shared.database.engine import Database
from service.shared.database.tables import Delivery, Job, now
from service.shared.jobs.states import add_event
from service.shared.jobs.webhooks import signed_headers, signing_secret
from service.shared.settings import Settings
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

MOST_TRIES = 15  # over about two days
LONGEST_PAUSE = 6 * 3_600.0
RESPONSE_SECONDS = 10.0
AT_ONCE = 20
_NAT64 = IPv6Network("64:ff9b::/96")
_GONE = 410  # the receiver asks for no further tries


class WebhookDispatcher(PeriodicThread):
    """Send due deliveries, every `sweep_seconds` and when woken."""

    join_seconds = 2.0  # another worker repeats a request that is cut off

    def __init__(self, settings: Settings, db: Database) -> None:
        super().__init__("webhooks", settings.sweep_seconds)
        self._settings, self._db = settings, db

    def round(self) -> None:
        try:
            self.deliver()
        except (SQLAlchemyError, OSError) as error:
            logger.warning("webhooks put off: %r", error)

    def deliver(self) -> None:
        """Try each due delivery once."""
        with self._db.read() as session:
            due = select(Delivery.id).where(Delivery.next_at <= database_now(session)).order_by(Delivery.next_at)
            waiting = list(session.scalars(due.limit(AT_ONCE)))
        for message_id in waiting:
            if self._closing:
                return
            if (delivery := self._claim(message_id)) is not None:
                self._record(delivery, *self._send(delivery))

    def _claim(self, message_id: str) -> Delivery | None:
        """Count a try and set the time of the next one; None if another worker was faster."""
        with self._db.write() as session:
            moment = database_now(session)
            claimed = session.execute(
                update(Delivery)
                .where(Delivery.id == message_id, Delivery.next_at <= moment)
                .values(tries=Delivery.tries + 1, next_at=moment + timedelta(seconds=2 * RESPONSE_SECONDS))
                .returning(Delivery.id)
            ).first()
            return session.get(Delivery, message_id, populate_existing=True) if claimed else None

    def _send(self, delivery: Delivery) -> tuple[str | None, bool]:
        """Send the request; return the problem, if any, and whether another try makes sense."""
        try:
            status = post(self._settings, delivery)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
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


def post(settings: Settings, delivery: Delivery) -> int:
    """Send the delivery once and return the status of the response. Follows no redirects, uses no proxy.

    Raises:
        ForbiddenAddress: webhooks may not reach the host's address.
        httpx.HTTPError, OSError: no response came.
    """
    url = httpx.URL(delivery.url)
    address = public_address(url, allow_private=settings.webhook_private)
    headers = signed_headers(signing_secret(settings), delivery.id, int(time.time()), delivery.body)
    headers |= {"host": url.netloc.decode(), "content-type": "application/json", "user-agent": "adamss-webhooks"}
    with httpx.Client(timeout=RESPONSE_SECONDS, trust_env=False, follow_redirects=False) as client:
        # To the address that was checked: another look-up of the name could return another address.
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            content=delivery.body,
            headers=headers,
            extensions={"sni_hostname": url.host},
        )
        response = client.send(request, stream=True)  # its body is not read
        response.close()
        return response.status_code


class ForbiddenAddress(ValueError):
    """The host resolves to an address in the operator's own network."""


def public_address(
    url: httpx.URL, *, allow_private: bool, look_up: Callable[..., list[tuple[object, ...]]] | None = None
) -> str:
    """Resolve the URL's host to an address. All its addresses must be public, unless private ones are allowed.

    Raises:
        ForbiddenAddress: one of them is not public.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    entries = (look_up or socket.getaddrinfo)(url.host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in entries]  # type: ignore[index]
    for address in addresses:
        if not allow_private and not is_public(address):
            raise ForbiddenAddress(f"{url.host} leads to {address}, which is not a public address.")
    return addresses[0]


def is_public(address: str) -> bool:
    """Return whether an address is public, also if an IPv6 address carries an IPv4 one."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip.sixtofour or ip.teredo or ip in _NAT64:
            return False
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
    return ip.is_global and not ip.is_multicast
