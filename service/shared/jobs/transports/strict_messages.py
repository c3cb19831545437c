"""Handling of received messages, shared by both Celery transports: one id is read from each, all else is dropped."""

from __future__ import annotations

import json
import logging
from base64 import b64decode
from typing import Any
from uuid import uuid4

from service.shared.ids import is_id
from service.shared.jobs.queue import QUEUE, RUN_JOB

logger = logging.getLogger(__name__)

BODY_BYTES = 10_000  # a hint of ours has 200


class StrictMessages:
    """Mixin before a kombu transport, to read the job's id from a message and deliver a message of our own making.

    kombu and Celery act on much of a message: its content type, delivery tag, headers such as `eta` and `stamps`, and
    callbacks in its body. Whoever can write to the queue could stop or misuse a worker by each of these, so none
    reaches them.
    """

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            job_id = _job_id(message)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            logger.warning("a message that names no job was dropped: %r", type(error).__name__)
            return
        super()._deliver(hint(job_id), queue)  # type: ignore[misc]  # the transport's


def _job_id(message: Any) -> str:
    """Return the only argument of a call of the runner's task.

    Raises:
        Exception: several kinds, where the message is anything else.
    """
    body, properties = message["body"], message["properties"]
    if message["headers"]["task"] != RUN_JOB or len(body) > BODY_BYTES:
        raise ValueError
    content = b64decode(body, validate=True) if properties["body_encoding"] == "base64" else body
    (job_id,), fields, _ = json.loads(content)
    if fields != {} or not is_id("job", job_id):
        raise ValueError
    return str(job_id)


def hint(job_id: str) -> dict[str, Any]:
    """Make the message, in Celery's second protocol, that calls the runner's task with a job's id."""
    return {
        "body": json.dumps([[job_id], {}, {}]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": RUN_JOB, "id": str(uuid4())},
        "properties": {
            "body_encoding": None,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "delivery_tag": str(uuid4()),
        },
    }
