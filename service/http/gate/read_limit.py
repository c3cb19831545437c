"""Reads take turns: a few are worked on at a time, the others wait in order."""

from __future__ import annotations

import re
from asyncio import Semaphore

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.gate.origin import SAFE_METHODS

# Python runs one thread at a time, and each that could run waits for all others that could: forty threads, which the
# framework allows, answer nobody sooner than eight, and the last one much later.
AT_A_TIME = 8
# These say how it is also while all turns wait for a database, and these may wait for a process that reads a model.
NEVER = re.compile(r"/healthz|/readyz|/models(/.*)?")


class TurnsMiddleware:
    """What a GET has to find out, it does in its turn, which ends when its answer begins: streams and downloads keep
    none. Changes take none, as they may wait for a lock or for another process."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._turns = Semaphore(AT_A_TIME)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in SAFE_METHODS or NEVER.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        await self._turns.acquire()
        has_turn = True

        def end_turn() -> None:
            nonlocal has_turn
            if has_turn:
                has_turn = False
                self._turns.release()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                end_turn()
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            end_turn()
