"""Chat messages: their shape, the order of their roles, and the answers that are trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from adamss_core.spec.tools import CALLS, wrong_with_calls

ROLES = ("system", "developer", "user", "assistant", "tool")
FIRST = ("system", "developer")
EXAMPLE = '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'
WEIGHT = "weight"
THOUGHT = "<think>"
_THOUGHT_ENDS = "</think>"
REPEATED, ASSISTANT_FIRST, USER_LAST = "two turns of one role in a row", "assistant first", "user last"
ORDER = (REPEATED, ASSISTANT_FIRST, USER_LAST)


def looks_like_chat(entries: list[Any]) -> bool:
    """Tell whether a list is meant as messages, rightly written or not."""
    return bool(entries) and all(isinstance(entry, dict) for entry in entries)


# --- what is learnt from a chat ---------------------------------------------------------------------------------------


def trained_turns(messages: Sequence[dict[str, Any]]) -> list[int]:
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


def unusual_order(messages: Sequence[dict[str, Any]]) -> set[str]:
    """Name in what the turns of a chat are not user and assistant in turn: a chat template may refuse it."""
    spoken = [message["role"] for message in messages if message["role"] not in FIRST]
    found = {REPEATED} if any(role == before and role != "tool" for before, role in pairwise(spoken)) else set()
    if spoken[:1] == ["assistant"]:
        found.add(ASSISTANT_FIRST)
    if spoken[-1:] == ["user"]:
        found.add(USER_LAST)
    return found


def list_parts(counts: Iterable[tuple[str, int]]) -> str:
    """Join parts of chats with the number of their rows, such as "system message (12 rows), name (1 row)"."""
    return ", ".join(f"{part} ({rows:,} {'row' if rows == 1 else 'rows'})" for part, rows in counts)


# --- turns of one role in a row ---------------------------------------------------------------------------------------


def repeated_turns(messages: Sequence[dict[str, Any]]) -> list[range]:
    """Return the messages of each turn: neighbours of one role are one, unless one is trained on and the other not."""
    trained = set(trained_turns(messages))
    turns: list[range] = []
    for index, message in enumerate(messages):
        before = messages[index - 1] if index else None
        if (
            before is not None
            and before["role"] == message["role"] != "tool"
            and (index in trained) == (index - 1 in trained)
        ):
            turns[-1] = range(turns[-1].start, index + 1)
        else:
            turns.append(range(index, index + 1))
    return turns


def join_turns(messages: Sequence[dict[str, Any]], turns: Iterable[range]) -> list[dict[str, Any]]:
    """Join the messages of each turn by a blank line, and their calls of tools into one list."""
    return [_joined([messages[index] for index in turn]) for turn in turns]


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if len(parts) == 1:
        return parts[0]
    message = {name: value for part in parts for name, value in part.items()}
    message["content"] = "\n\n".join(part["content"] for part in parts if part["content"].strip())
    if calls := [call for part in parts for call in part.get(CALLS) or []]:
        message[CALLS] = calls
    return message


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
    if "role" not in message or "content" not in message:
        return f"lacks role or content; write {EXAMPLE}"
    if message["role"] not in ROLES:
        return f"has the role {str(message['role'])[:40]!r}; use {', '.join(ROLES)}"
    return _wrong_content(message) or _wrong_keys(message)


def _wrong_content(message: dict[str, Any]) -> str | None:
    role, content, calls = message["role"], message["content"], message.get(CALLS)
    if not isinstance(content, str):
        return "has a content that is not text; put its text into one string"
    if calls and role != "assistant":
        return f"calls tools (tool_calls), but is of the {role}; only the assistant calls them"
    if calls and (wrong := wrong_with_calls(calls)) is not None:
        return wrong
    if role == "assistant" and not calls and not content.strip():
        return "is an empty answer of the assistant; write what it should say, or leave the chat out"
    return None


def _wrong_keys(message: dict[str, Any]) -> str | None:
    for name, value in further_parts(message).items():
        if name != CALLS and isinstance(value, (dict, list)):
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
    if spoken[0] == "tool":
        return "begins with the tool; begin with the user, after the system message if there is one"
    for number, (before, role) in enumerate(pairwise(spoken), start=start + 2):
        if role == "tool" and before == "user":
            return f"has a tool message right after the user (place {number}); it must follow the assistant's call"
    return None
