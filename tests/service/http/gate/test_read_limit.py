"""The read limit: no place is lost, none is kept by a stream, and nothing else waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.http.gate.read_limit import MAX_READS, ReadLimitMiddleware

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


class App:
    """Answers once it is told to, and counts what is at work."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.go_on = asyncio.Event()
        self.read_limit = ReadLimitMiddleware(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside.append(scope["path"])
        if scope["path"] == "/fails":
            raise ValueError
        if scope["path"] == "/stream":
            await send(START)
        await self.go_on.wait()
        self.inside.remove(scope["path"])

    def ask(self, path: str, method: str = "GET") -> asyncio.Task[None]:
        async def never() -> Message:
            raise AssertionError

        async def drop(message: Message) -> None: ...

        call: Awaitable[None] = self.read_limit({"type": "http", "method": method, "path": path}, never, drop)
        return asyncio.ensure_future(call)


def run(test: Callable[[App], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(App())

    asyncio.run(main())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_few_reads_run_at_a_time_and_the_others_follow() -> None:
    async def test(app: App) -> None:
        asked = [app.ask(f"/jobs/{number}") for number in range(3 * MAX_READS)]
        await settle()
        assert app.inside == [f"/jobs/{number}" for number in range(MAX_READS)]
        app.go_on.set()
        await asyncio.gather(*asked)

    run(test)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/healthz", "GET"),
        ("/readyz", "GET"),
        ("/models", "GET"),
        ("/jobs", "POST"),
        ("/jobs/1", "DELETE"),
    ],
)
def test_unlimited_requests_do_not_wait(path: str, method: str) -> None:
    async def test(app: App) -> None:
        asked = [app.ask(f"/jobs/{number}") for number in range(3 * MAX_READS)]
        await settle()
        asked.append(app.ask(path, method))
        await settle()
        assert app.inside[-1] == path
        app.go_on.set()
        await asyncio.gather(*asked)

    run(test)


def test_streams_and_failures_release_their_place() -> None:
    async def test(app: App) -> None:
        asked = [app.ask(path) for path in ("/stream", "/fails") * MAX_READS]
        asked.append(app.ask("/jobs"))
        await settle()
        assert "/jobs" in app.inside
        app.go_on.set()
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(result, ValueError) for result in results].count(True) == MAX_READS

    run(test)
