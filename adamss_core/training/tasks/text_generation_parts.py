"""Find the parts of a chat that its template does not show."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from adamss_core.spec.chat import further_parts

Shape = tuple[tuple[str, ...], ...]  # of each message its role, and its keys beside role and content


def shape_of(messages: list[dict[str, Any]], turns: Collection[int]) -> Shape:
    """Return the shape of a chat, on which depends what a template shows: not on the words.

    Args:
        turns: indices of the trained answers. Of others the content alone is looked at: what a template hides of
            earlier answers is hidden from the finished model too.
    """
    return tuple(
        (message["role"], *(further_parts(message) if message["role"] != "assistant" or index in turns else ()))
        for index, message in enumerate(messages)
    )


def hidden_parts(shape: Shape, render: Callable[[list[dict[str, Any]]], str | None]) -> frozenset[str]:
    """Return the parts that a template does not show, such as "system message" or "name".

    Renders a chat of this shape whose every part is a word of its own, and looks for the words.

    Args:
        render: returns None where the template refuses the chat, as one that calculates with a part does; all parts
            beside role and content then count as hidden.
    """
    words = {
        f"qz{place}x{number}zq": (place, key)
        for place, (_, *keys) in enumerate(shape)
        for number, key in enumerate(["content", *keys])
    }
    chat: list[dict[str, Any]] = [{"role": role} for role, *_ in shape]
    for word, (place, key) in words.items():
        chat[place][key] = word
    text = render(chat)
    return frozenset(
        f"{shape[place][0]} message" if key == "content" else key
        for word, (place, key) in words.items()
        if (word not in text if text is not None else key != "content")
    )
