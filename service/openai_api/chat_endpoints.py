"""OpenAI's routes for completions. Who goes away while a text is written frees its place."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Annotated, Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Request
from starlette.responses import StreamingResponse

from service.http.context import CallerDep
from service.openai_api import chat_shapes, completions
from service.openai_api.chat_schemas import ChatCompletionOut, ChatIn, CompletionIn, CompletionOut, PromptIn
from service.openai_api.completions import Asked
from service.openai_api.endpoints import PREFIX, refusals
from service.predict.text_stream import TextSource, stream
from service.shared.errors import ServiceError

T = TypeVar("T")
router = APIRouter(prefix=PREFIX, tags=["openai"])
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The texts; with `stream` as events.", "content": {"text/event-stream": {}}}
}
STATUSES = (404, 409, 413, 504)


@router.post("/chat/completions", responses=EVENTS | refusals(*STATUSES), response_model=ChatCompletionOut)
async def create_chat_completion(
    caller: CallerDep, request: Request, body: Annotated[ChatIn, Body()]
) -> ChatCompletionOut | StreamingResponse:
    """Answer a chat with the model of a finished job, rendered by the template that training used."""
    asked = await run_sync(completions.ask_chat, caller, body)
    return await _answer(request, body, asked, chat_shapes.whole_chat, chat_shapes.chat_chunks)


@router.post("/completions", responses=EVENTS | refusals(*STATUSES), response_model=CompletionOut)
async def create_completion(
    caller: CallerDep, request: Request, body: Annotated[PromptIn, Body()]
) -> CompletionOut | StreamingResponse:
    """Continue a text with the model of a finished job."""
    asked = await run_sync(completions.ask_prompt, caller, body)
    return await _answer(request, body, asked, chat_shapes.whole_prompt, chat_shapes.prompt_chunks)


async def _answer(
    request: Request,
    body: CompletionIn,
    asked: Asked,
    whole: Callable[[Asked], T],
    chunks: Callable[..., Generator[bytes]],
) -> T | StreamingResponse:
    """Wait for the texts, or stream them where the request says so."""
    if not body.stream:
        return await _while_connected(request, asked, partial(whole, asked))
    with_usage = body.stream_options is not None and body.stream_options.include_usage
    return await stream(TextSource(chunks(asked, with_usage=with_usage), asked.pieces, asked.cancelled))


async def _while_connected(request: Request, asked: Asked, wait: Callable[[], T]) -> T:
    """Wait in a thread, and cancel the work if the client goes away."""
    found: list[T] = []
    failed: list[ServiceError] = []  # raised in a task group, it would be one of a group

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        asked.cancelled.set()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            found.append(await run_sync(wait, abandon_on_cancel=True))
        except ServiceError as error:
            failed.append(error)
        finally:
            asked.cancelled.set()
            group.cancel_scope.cancel()
    if failed:
        raise failed[0]
    return found[0]
