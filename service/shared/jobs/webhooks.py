"""Webhooks of ended jobs: allowed hosts, payload and signature (Standard Webhooks)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from service.shared.database.clock import database_now
from service.shared.database.tables import Delivery, Job, Json, now
from service.shared.errors import InvalidRequest
from service.shared.ids import new_id
from service.shared.settings import Settings
from service.shared.storage.write_once import write_once

PREFIX = "whsec_"
SECRET_BYTES = 32
ANY_HOST = "*"


def check_webhook(settings: Settings, url: str | None) -> None:
    """Raise InvalidRequest if the operator does not allow the URL's host."""
    if url is None:
        return
    host = (urlsplit(url).hostname or "").lower()
    allowed = [entry.lower() for entry in settings.webhook_hosts]
    if host in allowed or ANY_HOST in allowed:
        return
    names = f"Allowed are: {', '.join(allowed)}." if allowed else "None is allowed."
    raise InvalidRequest(
        f"The operator does not allow webhooks to '{host}'. {names} ADAMSS_WEBHOOK_HOSTS lists them.",
        code="webhook_not_allowed",
        param="webhook",
    )


def announce(session: Session, job: Job) -> None:
    """Add a job's webhook to the deliveries, within the transaction that ends the job."""
    url = job.spec.get("webhook")
    if not url:
        return
    data = {
        "id": job.id,
        "name": job.name,
        "status": str(job.status),
        "attempt": job.attempt,
        "result": job.result,
        "error": job.error,
    }
    deliver(session, url, job.id, f"job.{job.status}", data)


def deliver(session: Session, url: str, job_id: str, kind: str, data: Json) -> None:
    """Add a webhook to the deliveries, within the transaction of what it tells.

    Args:
        job_id: the job that its tries are recorded with.
        kind: of the change, such as job.succeeded.
    """
    body = {"type": kind, "timestamp": now().isoformat(), "data": data}
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    moment = database_now(session)
    session.add(Delivery(id=new_id("msg"), job_id=job_id, url=url, body=text, created_at=now(), next_at=moment))


def signed_headers(secret: str, message_id: str, timestamp: int, body: str) -> dict[str, str]:
    """Sign a body with the three headers of Standard Webhooks.

    Args:
        secret: `whsec_` and the key in base64.
        timestamp: time of this try, in seconds since 1970.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(key, f"{message_id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def signing_secret(settings: Settings) -> str:
    """Return the configured secret, else one generated once and stored in the home folder for receivers' owners."""
    if settings.webhook_secret is not None:
        return settings.webhook_secret.get_secret_value()
    secret = PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
    return write_once(settings.files.webhook_secret, secret)
