"""Inputs of models that write text: what a job may name beside a prompt or a chat can be sent, and left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adamss_core.spec import JobSpec
from service.predict.inputs import read_inputs
from service.predict.schemas import PredictIn
from service.shared.errors import InvalidRequest

ASKED: dict[str, Any] = {"role": "user", "content": "Sky?"}
CALL = {"type": "function", "function": {"name": "look", "arguments": {}}}
CALLED: list[dict[str, Any]] = [
    ASKED,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "blue"},
]


def read(given: Any, **dataset: Any) -> dict[str, Any]:
    block = {"train": "ds_aaaaaaaa", **dataset}
    spec = JobSpec.model_validate({"name": "a", "base_model": "b", "task": "text-generation", "dataset": block})
    return read_inputs(spec, PredictIn.model_validate({"inputs": [given]}))[0]


@pytest.mark.parametrize("tools", [[CALL], json.dumps([CALL])])
def test_a_chat_comes_with_its_tools(tools: Any) -> None:
    given = {"messages": CALLED, "tools": tools}
    assert read(given, messages="m", tools="t") == {"messages": CALLED, "tools": [CALL]}
    assert read("Sky?", messages="m", tools="t") == {"messages": [ASKED]}


def test_a_prompt_comes_with_its_system_message_and_history() -> None:
    given = {"prompt": "Snow?", "system": "Be short.", "history": [ASKED, {"role": "assistant", "content": "blue"}]}
    fields = {"prompt": ["a", "b"], "completion": "c", "system": "s", "history": "h"}
    assert read(given, **fields) == given
    assert read("Snow?", **fields) == {"prompt": "Snow?"}


@pytest.mark.parametrize(
    ("given", "param", "message"),
    [
        ({"messages": [ASKED], "tools": "look"}, "inputs[0].tools", "are not a JSON list of functions"),
        ({"messages": [ASKED], "system": "a"}, "inputs[0].system", "it takes messages and tools"),
        (
            {"messages": [{**CALLED[1], "tool_calls": [{"function": {}}]}, ASKED]},
            "inputs[0].messages",
            "number 1 calls a tool without a name",
        ),
        ({"messages": CALLED[:2]}, "inputs[0].messages", "must end with a message of the user or a tool"),
    ],
)
def test_wrong_inputs_are_refused(given: Any, param: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        read(given, messages="m", tools="t")
    assert caught.value.param == param
