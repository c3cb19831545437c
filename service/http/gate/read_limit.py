"""Read concurrency limit: further reads wait in order."""

from __future__ import annotations

from asyncio import Semaphore

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.routes import policy_of

# Under the GIL, the forty threads that the framework allows serve nobody faster than eight do, and make the slowest
# request much slower.
MAX_READS = 8


class ReadLimitMiddleware:
    """Limit of concurrent reads. A read frees its slot when its response begins, so streams and downloads hold none.

    Changes need no slot: they may wait for a lock or for another process.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._slots = Semaphore(MAX_READS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not policy_of(scope["path"]).is_read_limited(scope["method"]):
            await self.app(scope, receive, send)
            return
        await self._slots.acquire()
        holds_slot = True

        def release() -> None:
            nonlocal holds_slot
            if holds_slot:
                holds_slot = False
                self._slots.release()

        async def send_and_release(message: Message) -> None:
            if message["type"] == "http.response.start":
                release()
            await send(message)

        try:
            await self.app(scope, receive, send_and_release)
        finally:
            release()
