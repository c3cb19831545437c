"""Find calls of tools in what a model writes.

Chat templates write a call as a JSON object with the function's name and its arguments, alone, in a list, or between
tags of their own; which tags, no template says. So an object counts as a call where it names one of the request's
tools, and tags before and behind it belong to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from service.openai_api.chat_schemas import FunctionCallOut, ToolCallOut
from service.shared.ids import new_id

OPENINGS = "{<["  # what a call, or the tag before it, may begin with
MOST_TAG = 100  # characters of a tag
ARGUMENTS = ("arguments", "parameters")
_BEFORE = re.compile(r"(<[^<>]*>|\[[A-Z_]+\]|```(json)?)$")
_BETWEEN = " \t\n\r\f\v[,;"
_BEHIND = re.compile(r"^(</[^<>]*>|\[/[A-Z_]+\]|```|[\s\],;])*")
_DECODER = json.JSONDecoder()


def find_calls(text: str, names: Collection[str]) -> tuple[str, list[ToolCallOut]]:
    """Return the text without calls, and the calls.

    Args:
        names: functions that may be called.
    """
    calls: list[ToolCallOut] = []
    kept, place = "", 0
    while (begin := text.find("{", place)) >= 0:
        try:
            value, end = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            kept, place = kept + text[place : begin + 1], begin + 1
            continue
        call = _call(value, names)
        if call is None:
            kept, place = kept + text[place:end], end
            continue
        calls.append(call)
        kept = _without_tags(kept + text[place:begin])
        behind = _BEHIND.match(text[end:])
        place = end + (behind.end() if behind else 0)
    kept += text[place:]
    return (kept.rstrip() if calls else text), calls


def _without_tags(text: str) -> str:
    """Cut off the tags and separators at the end of a text."""
    while True:
        text = text.rstrip(_BETWEEN)
        shorter = _BEFORE.sub("", text[-MOST_TAG:])
        if len(shorter) == len(text[-MOST_TAG:]):
            return text
        text = text[:-MOST_TAG] + shorter


def tool_names(tools: list[dict[str, Any]]) -> frozenset[str]:
    """Return the names of functions, as a request lists them."""
    return frozenset(str(tool.get("function", tool).get("name")) for tool in tools)


def _call(value: Any, names: Collection[str]) -> ToolCallOut | None:
    if not isinstance(value, dict):
        return None
    function = value.get("function", value)
    if not isinstance(function, dict):
        return None
    name = function.get("name")
    if not isinstance(name, str) or name not in names:  # any JSON may be there
        return None
    arguments: Any = next((function[name] for name in ARGUMENTS if name in function), {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCallOut(id=new_id("call"), function=FunctionCallOut(name=name, arguments=text))
