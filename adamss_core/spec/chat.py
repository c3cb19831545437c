"""Chat messages: their shape, and the order of their roles."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")
FIRST = ("system", "developer")
EXAMPLE = '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'


def looks_like_chat(entries: list[Any]) -> bool:
    """Tell whether a list is meant as messages, rightly written or not."""
    return bool(entries) and all(isinstance(entry, dict) for entry in entries)


def wrong_with_chat(messages: list[dict[str, Any]]) -> str | None:
    """Return why the messages cannot be trained on; chat templates refuse roles out of order, some only at run time."""
    for number, message in enumerate(messages, start=1):
        if wrong := _wrong_with_message(message):
            return f"holds chat messages of which number {number} {wrong}"
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        return "holds a chat in which the assistant never answers, so there is nothing to train on; add its answer"
    return _wrong_order(roles)


def _wrong_with_message(message: dict[str, Any]) -> str | None:
    if "role" not in message or "content" not in message:
        return f"lacks role or content; write {EXAMPLE}"
    role, content = message["role"], message["content"]
    if role not in ROLES:
        return f"has the role {str(role)[:40]!r}; use {', '.join(ROLES)}"
    if not isinstance(content, str):
        return "has a content that is not text; put its text into one string"
    if role == "assistant" and not content.strip():
        return "is an empty answer of the assistant; write what it should say, or leave the chat out"
    for name, value in message.items():
        if isinstance(value, (dict, list)):
            return f"has a nested value in '{name[:40]}'; keep role and content"
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
