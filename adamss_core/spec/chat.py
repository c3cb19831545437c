"""Chat messages: their shape, the order of their roles, and the answers that are trained on."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")
FIRST = ("system", "developer")
EXAMPLE = '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'
WEIGHT = "weight"
THOUGHT = "<think>"
_THOUGHT_ENDS = "</think>"


def looks_like_chat(entries: list[Any]) -> bool:
    """Tell whether a list is meant as messages, rightly written or not."""
    return bool(entries) and all(isinstance(entry, dict) for entry in entries)


# --- what is learnt from a chat ---------------------------------------------------------------------------------------


def trained_turns(messages: list[dict[str, Any]]) -> list[int]:
    """Return the indices of the assistant's messages that are trained on: all but those of weight 0."""
    return [
        index
        for index, message in enumerate(messages)
        if message["role"] == "assistant" and message.get(WEIGHT) in (None, 1)
    ]


def further_parts(message: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of a message beside role, content and weight that have a value."""
    return {
        name: value
        for name, value in message.items()
        if name not in ("role", "content", WEIGHT) and value is not None and value not in ("", [], {})
    }


def split_thought(content: str) -> tuple[str, str]:
    """Split an answer into the thought that it begins with, in <think> tags, and the rest; the thought may be empty."""
    thought, ends, answer = content.rpartition(_THOUGHT_ENDS)
    return (thought.replace(THOUGHT, "").strip(), answer.strip()) if ends and answer.strip() else ("", content.strip())


def unusual_parts(messages: list[dict[str, Any]]) -> set[str]:
    """Name what a chat has beside questions and answers: a chat template may not show it."""
    found = {name for message in messages for name in further_parts(message)}
    found |= {f"{message['role']} message" for message in messages if message["role"] not in ("user", "assistant")}
    if any(split_thought(messages[index]["content"])[0] for index in trained_turns(messages)):
        found.add(THOUGHT)
    return found


def list_parts(counts: Iterable[tuple[str, int]]) -> str:
    """Join parts of chats with the number of their rows, such as "system message (12 rows), name (1 row)"."""
    return ", ".join(f"{part} ({rows:,} {'row' if rows == 1 else 'rows'})" for part, rows in counts)


# --- what is wrong with a chat ----------------------------------------------------------------------------------------


def wrong_with_chat(messages: list[dict[str, Any]]) -> str | None:
    """Return why the messages cannot be trained on; chat templates refuse roles out of order, some only at run time."""
    for number, message in enumerate(messages, start=1):
        if wrong := _wrong_with_message(message):
            return f"holds chat messages of which number {number} {wrong}"
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        return "holds a chat in which the assistant never answers, so there is nothing to train on; add its answer"
    if not trained_turns(messages):
        return "holds a chat in which every answer has weight 0, so there is nothing to train on; give one the weight 1"
    return _wrong_order(roles)


def _wrong_with_message(message: dict[str, Any]) -> str | None:
    if message.get("tool_calls"):
        return "calls tools (tool_calls), which is not trained on; write the call into content, as it is to be learnt"
    if "role" not in message or "content" not in message:
        return f"lacks role or content; write {EXAMPLE}"
    if message["role"] not in ROLES:
        return f"has the role {str(message['role'])[:40]!r}; use {', '.join(ROLES)}"
    return _wrong_content(message["role"], message["content"]) or _wrong_keys(message)


def _wrong_content(role: str, content: Any) -> str | None:
    if not isinstance(content, str):
        return "has a content that is not text; put its text into one string"
    if role == "assistant" and not content.strip():
        return "is an empty answer of the assistant; write what it should say, or leave the chat out"
    return None


def _wrong_keys(message: dict[str, Any]) -> str | None:
    for name, value in further_parts(message).items():
        if isinstance(value, (dict, list)):
            return f"has a nested value in '{name[:40]}'; keep role and content"
    weight = message.get(WEIGHT)
    if weight is not None and message["role"] != "assistant":
        return f"has a weight, but is of the {message['role']}; only answers of the assistant are trained on, or not"
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        return f"has the weight {str(weight)[:40]!r}; use 0 for an answer that is shown only, or 1 to train on it"
    return None


def _wrong_order(roles: list[str]) -> str | None:
    start = 1 if roles[0] in FIRST else 0
    spoken = roles[start:]
    for number, role in enumerate(spoken, start=start + 1):
        if role in FIRST:
            return f"has its {role} message in place {number}; it must come first"
    if spoken[0] != "user":
        return f"begins with the {spoken[0]}; begin with the user, after the system message if there is one"
    for number, (before, role) in enumerate(pairwise(spoken), start=start + 2):
        if role == before and role != "tool":
            return f"has two messages of the {role} in a row (place {number}); join them, or let the roles alternate"
        if role == "tool" and before == "user":
            return f"has a tool message right after the user (place {number}); it must follow the assistant's call"
    return None
