"""Examples in the forms that OpenAI's guides document, with contents of our own."""

from __future__ import annotations

import json
from typing import Any

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
            "required": ["place", "unit"],
        },
    },
}
CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"place": "Oslo", "unit": "celsius"}'},
}


def turn(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


CHAT = {
    "messages": [
        turn("system", "Answer dryly."),
        turn("user", "What colour is the sky?"),
        turn("assistant", "Blue, if you look up."),
    ]
}
WEIGHTED = {
    "messages": [
        turn("user", "What colour is the sky?"),
        turn("assistant", "Green.", weight=0),
        turn("user", "Really?"),
        turn("assistant", "Blue.", weight=1),
    ]
}
TOOLS = {
    "messages": [turn("user", "Is it cold in Oslo?"), {"role": "assistant", "tool_calls": [CALL]}],
    "parallel_tool_calls": False,
    "tools": [WEATHER],
}
LEGACY_FUNCTIONS = {
    "messages": [turn("user", "Is it cold in Oslo?"), {"role": "assistant", "function_call": CALL["function"]}],
    "functions": [WEATHER["function"]],
}
COMPLETION = {"prompt": "The colour of the sky: ", "completion": "blue"}
IMAGE = {
    "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
        turn("assistant", "A cat."),
    ]
}
PREFERENCE = {
    "input": {"messages": [turn("user", "Hello?")], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [turn("assistant", "Hello!")],
    "non_preferred_output": [turn("assistant", "What?")],
}
REINFORCEMENT = {"messages": [turn("user", "Is it legal?")], "compliant": "yes", "explanation": "It is."}


def lines(example: dict[str, Any], count: int = 12) -> list[str]:
    return [json.dumps(example)] * count
