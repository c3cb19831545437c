"""Find the parts of a chat that a chat template does not show."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import jinja2

from adamss_core.spec.chat import THOUGHT, further_parts
from adamss_core.spec.tools import CALLS, TOOLS

Shape = tuple[tuple[str, ...], ...]  # of each message its role, and its keys beside role and content
Messages = list[dict[str, Any]]
Tools = list[dict[str, Any]] | None

TEMPLATE_ERRORS = (jinja2.TemplateError, TypeError, ValueError, OverflowError)  # the last for endless loops
# Chats with one of the usual parts each.
_USUAL: tuple[Shape, ...] = (
    (("system",), ("user",), ("assistant",)),
    (("developer",), ("user",), ("assistant",)),
    (("user", "name"), ("assistant",)),
    (("user",), ("assistant", "reasoning_content")),
    (("user",), ("assistant",), ("tool",), ("assistant",)),
    (("user",), ("assistant", CALLS), ("tool",), ("assistant",)),
)


def shape_of(messages: Messages, turns: Collection[int]) -> Shape:
    """Return the shape of a chat, on which depends what a template shows: not on the words.

    Args:
        turns: indices of the trained answers. Of others the content alone is looked at: what a template hides of
            earlier answers is hidden from the finished model too.
    """
    return tuple(
        (message["role"], *(further_parts(message) if message["role"] != "assistant" or index in turns else ()))
        for index, message in enumerate(messages)
    )


def hidden_parts(shape: Shape, render: Callable[[Messages], str]) -> frozenset[str]:
    """Return the parts of a chat that its template does not show, such as "system message" or "name".

    Renders a chat of this shape whose every part is a word of its own, and looks for the words. Where the template
    refuses that chat, as one that calculates with a part does, all parts beside role and content count as hidden.
    """
    words = {
        f"qz{place}x{number}zq": (place, key)
        for place, (_, *keys) in enumerate(shape)
        for number, key in enumerate(["content", *keys])
    }
    chat: Messages = [{"role": role} for role, *_ in shape]
    for word, (place, key) in words.items():
        chat[place][key] = _call_of(word) if key == CALLS else word
    try:
        text = render(chat)
    except TEMPLATE_ERRORS:
        text = " ".join(word for word, (_, key) in words.items() if key == "content")
    return frozenset(
        f"{shape[place][0]} message" if key == "content" else key
        for word, (place, key) in words.items()
        if word not in text
    )


def _call_of(name: str) -> list[dict[str, Any]]:
    # Nine characters, as a few templates want the ids of calls.
    return [{"id": "call00000", "type": "function", "function": {"name": name, "arguments": {"of": name}}}]


def hides_tools(render: Callable[[Messages, Tools], str]) -> bool:
    """Return whether a template does not show the functions that the assistant may call."""
    word = "qz0x0zq"
    function = {"name": word, "description": word, "parameters": {"type": "object", "properties": {}}}
    try:
        return word not in render([{"role": "user", "content": "Why?"}], [{"type": "function", "function": function}])
    except TEMPLATE_ERRORS:
        return False  # the rows themselves will say why


def usually_hidden(render: Callable[[Messages, Tools], str]) -> list[str]:
    """Return which of the usual parts of chats a template does not show, thoughts of the last answer among them."""
    hidden = {part for shape in _USUAL for part in hidden_parts(shape, lambda messages: render(messages, None))}
    if hides_tools(render):
        hidden.add(TOOLS)
    thought = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "<think>qzq</think>So."}]
    try:
        text = render(thought, None)
    except TEMPLATE_ERRORS:
        return sorted(hidden)
    return sorted(hidden | ({THOUGHT} if "qzq" not in text else set()))
