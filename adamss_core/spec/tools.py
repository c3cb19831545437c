"""Tools of a chat: the functions that the assistant may call, and its calls."""

from __future__ import annotations

import json
from typing import Any

CALLS = "tool_calls"
TOOLS = "tools"  # as a part of a chat, although rows have a column of them
MAX_DEPTH = 32  # of objects and lists in a call
EXAMPLE_CALL = '{"type": "function", "function": {"name": "...", "arguments": {...}}}'


def read_tools(cell: Any) -> list[dict[str, Any]] | None:
    """Return the functions of a cell, which holds a list or its JSON text; None for an empty cell.

    Raises:
        ValueError: the cell holds something else; the text completes "whose tools ...".
    """
    if cell is None or cell in ("", []) or (isinstance(cell, str) and not cell.strip()):
        return None
    try:
        tools = json.loads(cell) if isinstance(cell, str) else cell
    except (ValueError, RecursionError):
        tools = None
    if not isinstance(tools, list) or not all(map(_is_function, tools)):
        raise ValueError("are not a JSON list of functions with a name")
    return tools or None


def _is_function(tool: Any) -> bool:
    if not isinstance(tool, dict):
        return False
    function = tool.get("function", tool)
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def wrong_with_calls(calls: Any) -> str | None:
    """Return why the calls of a message cannot be rendered."""
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        return f"has tool_calls that are not a list of calls; write {EXAMPLE_CALL}"
    if is_deeper(calls, MAX_DEPTH):
        return f"calls a tool with arguments of more than {MAX_DEPTH} levels; write fewer"
    for call in calls:
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
            return f"calls a tool without a name; write {EXAMPLE_CALL}"
        if not isinstance(parsed_arguments(function.get("arguments")), dict):
            return f"calls '{function['name'][:40]}' with arguments that are not a JSON object; write {EXAMPLE_CALL}"
    return None


def is_deeper(value: Any, levels: int) -> bool:
    """Return whether objects and lists lie within one another more than `levels` deep."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            part
            for value in layer
            if isinstance(value, (dict, list))
            for part in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(layer)


def parsed_calls(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return calls with their arguments as objects: chat templates write these as JSON themselves."""
    return [
        call | {"function": call["function"] | {"arguments": parsed_arguments(call["function"].get("arguments"))}}
        for call in calls
    ]


def parsed_arguments(arguments: Any) -> Any:
    """Return arguments as an object, where they are its JSON text or left out."""
    if arguments is None or arguments == "":
        return {}
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def called_names(message: dict[str, Any]) -> list[str]:
    """Return the names of the functions that a message calls."""
    return [call["function"]["name"] for call in message.get(CALLS) or []]


def answer_text(message: dict[str, Any]) -> str:
    """Return what an answer says; its calls as JSON where it says nothing."""
    content = str(message["content"])
    if content.strip() or not message.get(CALLS):
        return content
    calls = [call["function"] for call in parsed_calls(message[CALLS])]
    return "\n".join(
        json.dumps({"name": call["name"], "arguments": call["arguments"]}, ensure_ascii=False) for call in calls
    )
