"""Send one webhook: to a judged address or through the operator's proxy, within one limit of time for all of it."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

import anyio
import httpx
from anyio.to_thread import run_sync

from service.shared.database.tables import Delivery
from service.shared.jobs.webhooks import signed_headers, signing_secret
from service.shared.settings import Settings
from worker.public_addresses import public_address

TOTAL_SECONDS = 10.0  # from the look-up of the name to the status of the response


class NoResponse(TimeoutError):
    """The receiver did not answer in full within the limit."""


def post(settings: Settings, delivery: Delivery, seconds: float = TOTAL_SECONDS) -> int:
    """Send the delivery once and return the status of the response. Follows no redirects.

    Raises:
        ForbiddenAddress: webhooks may not reach the host's address.
        NoResponse: the time was up; a limit for each read alone would never end for a byte a second.
        httpx.HTTPError, OSError: no response came.
    """
    return anyio.run(_post, settings, delivery, seconds)


async def _post(settings: Settings, delivery: Delivery, seconds: float) -> int:
    try:
        with anyio.fail_after(seconds):
            return await _exchange(settings, delivery)
    except TimeoutError as error:
        raise NoResponse(f"no response within {seconds:g} s") from error


async def _exchange(settings: Settings, delivery: Delivery) -> int:
    url = httpx.URL(delivery.url)
    proxy = settings.egress_proxy(url.scheme, url.host)
    look_up = _judge if proxy else _resolve
    # A resolver has time limits of its own; the thread is left to it.
    address = await run_sync(look_up, url, settings.webhook_private, abandon_on_cancel=True)
    headers = signed_headers(signing_secret(settings), delivery.id, int(time.time()), delivery.body)
    headers |= {"host": url.netloc.decode(), "content-type": "application/json", "user-agent": "adamss-webhooks"}
    options: dict[str, Any] = {"proxy": proxy, "trust_env": False, "follow_redirects": False, "timeout": None}
    async with httpx.AsyncClient(**options) as client:
        request = client.build_request(
            "POST",
            url.copy_with(host=address),
            content=delivery.body,
            headers=headers,
            extensions={"sni_hostname": url.host},
        )
        response = await client.send(request, stream=True)  # its body is not read
        await response.aclose()
        return response.status_code


def _resolve(url: httpx.URL, allow_private: bool) -> str:
    """Return the address to connect to: another look-up of the name could return another address."""
    return public_address(url, allow_private=allow_private)


def _judge(url: httpx.URL, allow_private: bool) -> str:
    """Return the host, for a proxy to look up; where the name resolves here, its addresses must be public too."""
    with suppress(socket.gaierror):  # behind a proxy, a machine may know no names outside
        public_address(url, allow_private=allow_private)
    return url.host
