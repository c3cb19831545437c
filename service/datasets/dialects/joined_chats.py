"""Chats in several columns: a prompt and its completion, or a prompt with a chosen and a rejected answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

from adamss_core.spec.chat import WEIGHT
from service.datasets.dialects.chats import chat_columns
from service.datasets.dialects.dialect import Dialect
from service.datasets.rows import Notice, Row, counted

PROMPT, COMPLETION, MESSAGES = "prompt", "completion", "messages"
CHOSEN, REJECTED = "chosen", "rejected"
PROMPTS = ("prompt", "question", "instruction", "input", "query", "conversations", "messages", "conversation")
Message = dict[str, Any]


class ChatPrompts(Dialect):
    """Prompt and completion that are chats, as TRL writes them: one chat, whose completion is trained on."""

    def __init__(self) -> None:
        self._rows = 0

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        if any(MESSAGES in values for values in rows) or not any(COMPLETION in values for values in rows):
            return None
        return cls() if PROMPT in chat_columns(rows) else None

    def read(self, values: Row) -> Row:
        if PROMPT not in values or COMPLETION not in values:
            return values
        self._rows += 1
        chat = _joined(values[PROMPT], values[COMPLETION])
        return {
            (MESSAGES if name == PROMPT else name): (chat if name == PROMPT else value)
            for name, value in values.items()
            if name != COMPLETION
        }

    def notices(self) -> Iterator[Notice]:
        yield Notice(
            "chat_trl",
            MESSAGES,
            f"Columns '{PROMPT}' and '{COMPLETION}' hold chats, in {counted(self._rows)}. They "
            f"are joined as '{MESSAGES}'; answers of the prompt have weight 0, so that the completion alone is trained "
            "on.",
        )


class Preferences(Dialect):
    """Rows with a better and a worse answer; chats are completed by their prompt, so that each can be trained on."""

    def __init__(self, prompt: str | None, is_chat: bool) -> None:
        self._prompt, self._is_chat = prompt, is_chat
        self._rows = 0

    @classmethod
    def recognise(cls, rows: Sequence[Row]) -> Self | None:
        names = {name for values in rows for name in values}
        if not {CHOSEN, REJECTED} <= names:
            return None
        prompt = next((name for name in PROMPTS if name in names), None)
        chats = chat_columns(rows)
        return cls(prompt, CHOSEN in chats or prompt in chats)

    def read(self, values: Row) -> Row:
        self._rows += 1
        prompt = values.get(self._prompt) if self._prompt else None
        if not isinstance(prompt, list):
            return values
        answers = {name: _joined(prompt, values[name]) for name in (CHOSEN, REJECTED) if values.get(name)}
        return {name: value for name, value in values.items() if name != self._prompt} | answers

    def notices(self) -> Iterator[Notice]:
        remedy = f'dataset.messages "{CHOSEN}"'
        if not self._is_chat:
            remedy = f'dataset.text "{CHOSEN}"'
            if self._prompt is not None:
                remedy = f'dataset.prompt "{self._prompt}" and dataset.completion "{CHOSEN}"'
        yield Notice(
            "preference_data",
            REJECTED,
            f"The rows are preferences, with a chosen and a rejected answer ({counted(self._rows)}). No task trains on "
            f"them yet. To train on the chosen answers, name {remedy}.",
        )


def _joined(prompt: Any, answer: Any) -> Any:
    """Return the chat of a prompt and its answer, which may be text, or the whole chat already."""
    before = prompt if isinstance(prompt, list) else []
    after: Any = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer
    if not isinstance(after, list):
        return after
    if before and after[: len(before)] == before:
        after = after[len(before) :]
    return [*map(_shown, before), *after]


def _shown(message: Any) -> Any:
    """Return a message that is not trained on."""
    is_answer = isinstance(message, dict) and message.get("role") == "assistant"
    return message | {WEIGHT: 0} if is_answer else message
