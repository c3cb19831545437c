"""Instructions: a prompt of one or several columns, with a system message and earlier turns, and its answer.

A model with a chat template reads them as a chat, another one as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from adamss_core.spec.labels import as_text

if TYPE_CHECKING:
    from adamss_core.spec.job import DatasetSpec

BLANK_LINE = "\n\n"
Message = dict[str, Any]


def is_instruction(data: DatasetSpec) -> bool:
    """Return whether a job's prompts are instructions: listed columns, or a prompt with system message or history."""
    return data.prompt is not None and (isinstance(data.prompt, list) or (data.system or data.history) is not None)


def join_texts(cells: Iterable[Any]) -> str:
    """Join the texts of cells by a blank line; empty ones are left out."""
    texts = ("" if cell is None else as_text(cell) for cell in cells)
    return BLANK_LINE.join(text.strip() for text in texts if text.strip())


def prompting_chat(cells: Mapping[str, Any]) -> list[Message]:
    """Return the chat that asks for the answer, from the fields prompt, system and history."""
    history = [dict(message) for message in cells.get("history") or []]
    return with_system([*history, {"role": "user", "content": cells["prompt"]}], cells.get("system"))


def with_system(messages: list[Message], system: Any) -> list[Message]:
    """Put a system message before a chat that has none."""
    text = "" if system is None else as_text(system).strip()
    if not text or (messages and messages[0].get("role") in ("system", "developer")):
        return messages
    return [{"role": "system", "content": text}, *messages]


def as_prompt(messages: Iterable[Message]) -> str:
    """Return a chat as text, for models without a chat template: its contents, a blank line after each."""
    text = join_texts(message["content"] for message in messages)
    return f"{text}{BLANK_LINE}" if text else ""
