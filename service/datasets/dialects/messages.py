"""Read the ways in which chats are written as messages of role and content."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from typing import Any

from adamss_core.spec.tools import CALLS, parsed_arguments
from service.datasets.dialects.dialect import Misread

Message = dict[str, Any]

ROLE_KEYS, CONTENT_KEYS = ("role", "from"), ("content", "value")
ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "model", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "tool_response", "ipython"), "tool"),
    **{name: name for name in ("system", "developer")},
}
PLAIN_KEYS = {"role", "content"}
PLAIN_ROLES = ("user", "assistant", "system", "developer", "tool")  # a tuple: a role may be unhashable
CALL_ROLE, LEGACY_CALL = "function_call", "function_call"
# Ways of writing, for notices.
SHAREGPT, ROLE_NAMES, OPENAI = "chat_sharegpt", "chat_role_names", "chat_openai"
TEXT, PAIRS = "chat_json_text", "chat_pairs"


def parse_text(text: str) -> Any:
    """Return the list or object that a text holds, as JSON or as Python writes it; None for another text."""
    text = text.strip()
    if not text.startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def is_chat(cell: Any) -> bool:
    """Return whether a cell holds a chat in one of the known ways, rightly written or not."""
    value = parse_text(cell) if isinstance(cell, str) else cell
    if isinstance(value, dict):
        return _is_message(value) and str(_take(dict(value), ROLE_KEYS)).strip().lower() in ROLES
    if not isinstance(value, list) or not value:
        return False
    return all(map(_is_message, value)) or all(map(_is_pair, value))


def _is_message(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    has_content = any(name in entry for name in (*CONTENT_KEYS, CALLS, LEGACY_CALL))
    return has_content and any(isinstance(entry.get(name), str) for name in ROLE_KEYS)


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, (list, tuple)) and len(entry) == 2 and all(isinstance(text, str) for text in entry)


def read_chat(cell: Any) -> tuple[Any, set[str]]:
    """Return a cell's messages, and the ways in which they were written; the cell itself where it has none of these.

    Raises:
        Misread: the cell is no chat.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None, set()
    ways: set[str] = set()
    if isinstance(cell, str):
        cell, text = parse_text(cell), cell
        ways.add(TEXT)
        if not isinstance(cell, (list, dict)):
            raise Misread(f"holds text that is no chat, {text[:40]!r}; write a JSON list of messages")
    entries = [cell] if isinstance(cell, dict) else cell
    if not isinstance(entries, list):
        raise Misread("holds a value where other rows have chats; write a list of messages")
    if entries and all(map(_is_pair, entries)):
        return [message for pair in entries for message in _of_pair(pair)], ways | {PAIRS}
    messages = [_message(entry, ways) for entry in entries]
    return (messages if ways or messages != cell else cell), ways


def _of_pair(pair: Iterable[str]) -> list[Message]:
    asked, answered = pair
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _message(entry: Any, ways: set[str]) -> Any:
    """Return an entry of a chat as a message; a plain one, or what is none, as it is."""
    if not isinstance(entry, dict) or _is_plain(entry):
        return entry
    rest = {name: value for name, value in entry.items() if value is not None}
    role, content = _take(rest, ROLE_KEYS), _take(rest, CONTENT_KEYS)
    legacy = rest.pop(LEGACY_CALL, None)
    calls = rest.pop(CALLS, None) or ([] if legacy is None else [legacy])
    if role == CALL_ROLE:
        calls, content = _calls_of_text(content), None
    message: Message = {} if role is None else {"role": ROLES.get(str(role).strip().lower(), role)}
    if content is not None or calls:
        message["content"] = "" if content is None else _text(content)
    if calls:
        message[CALLS] = [_call(call) for call in calls] if isinstance(calls, list) else calls
    message |= rest
    if message == entry:
        return entry
    is_renamed = message.get("role") != entry.get("role")
    ways.add(OPENAI if not is_renamed else ROLE_NAMES if entry.keys() >= PLAIN_KEYS else SHAREGPT)
    return message


def _is_plain(entry: Message) -> bool:
    """Return whether a message needs no rewriting, as most do."""
    return len(entry) == 2 and entry.get("role") in PLAIN_ROLES and isinstance(entry.get("content"), str)


def _take(message: Message, names: Iterable[str]) -> Any:
    """Take the value of the first of some keys that a message has."""
    return next((message.pop(name) for name in names if name in message), None)


def _text(content: Any) -> Any:
    """Return a content as text: parts joined, an object, as tools return it, as JSON; what is neither as it is."""
    if isinstance(content, dict):
        return json.dumps(content, ensure_ascii=False)
    if not isinstance(content, list):
        return content
    return "\n".join(_part(part) for part in content)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type", "text") in ("text", "input_text", "output_text"):
        text = part.get("text")
        if isinstance(text, str):
            return text
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise Misread(f"has a message with a content that is not text: a part of type {str(kind)[:40]!r}; keep text")


def _calls_of_text(content: Any) -> list[Any]:
    """Return the calls of a message of ShareGPT's function_call."""
    value = parse_text(content) if isinstance(content, str) else content
    calls = [value] if isinstance(value, dict) else value
    if not isinstance(calls, list) or not calls or not all(isinstance(call, dict) for call in calls):
        raise Misread('has a function_call that is not JSON such as {"name": "...", "arguments": {...}}')
    return calls


def _call(call: Any) -> Any:
    """Return a call with its function in the key of that name."""
    if not isinstance(call, dict):
        return call
    call = {name: value for name, value in call.items() if value is not None}
    if "function" in call or "name" not in call:
        return call
    function = {"name": call["name"], "arguments": parsed_arguments(call.get("arguments", call.get("parameters")))}
    kept = {name: value for name, value in call.items() if name not in ("name", "arguments", "parameters", "type")}
    return {"type": "function", **kept, "function": function}
