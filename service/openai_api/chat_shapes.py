"""Put the pieces of written texts together: as one answer, or as chunks of a stream, in OpenAI's shapes."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from service.openai_api.chat_schemas import (
    ChatChoiceOut,
    ChatCompletionOut,
    ChatLogprobsOut,
    ChatMessageOut,
    CompletionOut,
    PromptChoiceOut,
    UsageOut,
)
from service.openai_api.completions import Asked, Piece
from service.openai_api.tool_calls import OPENINGS, find_calls
from service.predict.text_stream import event
from service.shared.ids import new_id

DONE = b"data: [DONE]\n\n"
CHAT, PROMPT = "chat.completion", "text_completion"


@dataclass
class Gathered:
    """One text, as far as it is written."""

    text: str = ""
    logprobs: list[dict[str, Any]] | None = None
    finish: Any = None
    shown: int = 0  # characters that were sent of it


@dataclass
class Tally:
    """Texts and counts of a request, as far as they are there."""

    texts: dict[int, Gathered] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, piece: Piece) -> Gathered | None:
        """Take a piece; return the text that it belongs to."""
        self.prompt_tokens += piece.get("prompt_tokens", 0)
        if "choice" not in piece:
            return None
        text = self.texts.setdefault(piece["choice"], Gathered())
        text.text += piece.get("text", "")
        if "logprobs" in piece:
            text.logprobs = [*(text.logprobs or []), *map(_with_bytes, piece["logprobs"])]
        if "finish" in piece:
            text.finish = piece["finish"]
            self.completion_tokens += piece["tokens"]
        return text

    @property
    def usage(self) -> UsageOut:
        total = self.prompt_tokens + self.completion_tokens
        return UsageOut(prompt_tokens=self.prompt_tokens, completion_tokens=self.completion_tokens, total_tokens=total)


def whole_chat(asked: Asked) -> ChatCompletionOut:
    """Wait for the answers to a chat."""
    tally = _gathered(asked.pieces)
    return ChatCompletionOut(
        id=new_id("chatcmpl"),
        created=int(time.time()),
        model=asked.model,
        choices=[_chat_choice(index, text, asked) for index, text in sorted(tally.texts.items())],
        usage=tally.usage,
    )


def whole_prompt(asked: Asked) -> CompletionOut:
    """Wait for the continuations of a text."""
    tally = _gathered(asked.pieces)
    choices = [
        PromptChoiceOut(
            index=index, text=text.text, finish_reason=text.finish, logprobs=_legacy_logprobs(text.logprobs, 0)
        )
        for index, text in sorted(tally.texts.items())
    ]
    return CompletionOut(
        id=new_id("cmpl"), created=int(time.time()), model=asked.model, choices=choices, usage=tally.usage
    )


def chat_chunks(asked: Asked, *, with_usage: bool) -> Generator[bytes]:
    """Yield the answers to a chat as events; text that may be a call of a tool is held until it is whole."""
    head = {"id": new_id("chatcmpl"), "object": f"{CHAT}.chunk", "created": int(time.time()), "model": asked.model}
    tally, begun = Tally(), set[int]()
    for piece in asked.pieces:
        text = tally.add(piece)
        if text is None:
            continue
        index = piece["choice"]
        if index not in begun:
            begun.add(index)
            yield _chunk(head, _delta(index, {"role": "assistant", "content": "", "refusal": None}))
        yield from (_chunk(head, delta) for delta in _chat_deltas(index, text, piece, asked))
    yield from _end(head, tally, with_usage=with_usage)


def prompt_chunks(asked: Asked, *, with_usage: bool) -> Generator[bytes]:
    """Yield the continuations of a text as events."""
    head = {"id": new_id("cmpl"), "object": PROMPT, "created": int(time.time()), "model": asked.model}
    tally = Tally()
    for piece in asked.pieces:
        text = tally.add(piece)
        if text is None:
            continue
        new = text.text[text.shown :]
        logprobs = _legacy_logprobs([*map(_with_bytes, piece["logprobs"])], text.shown) if "logprobs" in piece else None
        text.shown = len(text.text)
        choice = {"index": piece["choice"], "text": new, "finish_reason": text.finish, "logprobs": logprobs}
        yield _chunk(head, choice)
    yield from _end(head, tally, with_usage=with_usage)


def _gathered(pieces: Iterable[Piece]) -> Tally:
    tally = Tally()
    for piece in pieces:
        tally.add(piece)
    return tally


def _chat_choice(index: int, text: Gathered, asked: Asked) -> ChatChoiceOut:
    content, calls = find_calls(text.text, asked.tools)
    return ChatChoiceOut(
        index=index,
        message=ChatMessageOut(content=None if calls and not content.strip() else content, tool_calls=calls or None),
        finish_reason="tool_calls" if calls else text.finish,
        logprobs=None if text.logprobs is None else ChatLogprobsOut(content=text.logprobs),
    )


def _chat_deltas(index: int, text: Gathered, piece: Piece, asked: Asked) -> Iterator[dict[str, Any]]:
    """Yield what a piece adds to an answer."""
    logprobs = {"content": [*map(_with_bytes, piece["logprobs"])], "refusal": None} if "logprobs" in piece else None
    end = len(text.text)
    if asked.tools and text.finish is None:
        end = min((place for place in map(text.text.find, OPENINGS) if place >= 0), default=end)
    if "finish" not in piece:
        new = text.text[text.shown : end]
        text.shown = max(text.shown, end)
        if new or logprobs is not None:
            yield _delta(index, {"content": new}, logprobs)
        return
    content, calls = find_calls(text.text, asked.tools)
    if (rest := content[text.shown :]) and (rest.strip() or not calls):
        yield _delta(index, {"content": rest})
    for place, call in enumerate(calls):
        shown = call.model_copy(update={"index": place}).model_dump()
        yield _delta(index, {"tool_calls": [shown]})
    yield _delta(index, {}, finish="tool_calls" if calls else text.finish)


def _delta(index: int, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _end(head: dict[str, Any], tally: Tally, *, with_usage: bool) -> Iterator[bytes]:
    if with_usage:
        yield event(head | {"choices": [], "usage": tally.usage.model_dump()})
    yield DONE


def _chunk(head: dict[str, Any], choice: dict[str, Any]) -> bytes:
    return event(head | {"choices": [choice]})


def _with_bytes(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [_with_bytes(one) for one in value] if name == "top_logprobs" else value for name, value in entry.items()
    } | {"bytes": list(entry["token"].encode())}


def _legacy_logprobs(entries: list[dict[str, Any]] | None, offset: int) -> dict[str, Any] | None:
    """Return log probabilities as completions of plain prompts have them.

    Args:
        offset: characters of the text before the first token.
    """
    if entries is None:
        return None
    offsets = []
    for entry in entries:
        offsets.append(offset)
        offset += len(entry["token"])
    return {
        "tokens": [entry["token"] for entry in entries],
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": [{one["token"]: one["logprob"] for one in entry["top_logprobs"]} for entry in entries],
        "text_offset": offsets,
    }
