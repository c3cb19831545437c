"""Chats, tools, instructions and preferences are understood in every way and container in which people write them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from service.datasets.left_out import suggest
from service.shared.database.tables import Dataset
from service.shared.errors import ServiceError
from tests.service.datasets.corpus import json_lines, parquet_of
from tests.service.datasets.test_corpus import read

Row = dict[str, Any]
CONTAINERS = ("jsonl", "json", "csv", "parquet")

ASKED, SAID = {"role": "user", "content": "Sky?"}, {"role": "assistant", "content": "blue"}
PLAIN = [ASKED, SAID]
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}}
CALLED = {"type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}
RESULT = {"role": "tool", "content": "blue"}
FUNCTION = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"a": inner}
    return inner


def content_of(container: str, rows: list[Row]) -> bytes:
    """Write rows; cells of a CSV that hold lists or objects as JSON text."""
    if container == "json":
        return json.dumps(rows).encode()
    if container == "parquet":
        return parquet_of({name: [row[name] for row in rows] for name in rows[0]})
    if container == "jsonl":
        return json_lines(*rows)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({k: json.dumps(v) if isinstance(v, (list, dict)) else v for k, v in row.items()})
    return out.getvalue().encode()


def understood(folder: Path, rows: list[Row], container: str = "jsonl") -> tuple[Dataset, list[Row], dict[str, str]]:
    """Return the data set, its stored rows, and its notices by code."""
    name = f"a.{container}"
    result, kept = read(folder, name, content_of(container, rows))
    assert result["profile"]["problem_count"] == 0, result["profile"]["problems"]
    dataset = Dataset(id="ds_aaaaaaaaaa", project_id="p", name=name, **result)
    return dataset, kept, {notice["code"]: notice["message"] for notice in result["profile"]["notices"]}


def mapping(dataset: Dataset) -> tuple[dict[str, Any], str]:
    found = suggest(dataset)[0]
    assert found.task == "text-generation"
    return dict(found.dataset), found.confidence


# Column under another name than the usual one -> messages.
CHATS: dict[str, tuple[Any, list[Row], str | None]] = {
    "sharegpt": ([{"from": "human", "value": "Sky?"}, {"from": "gpt", "value": "blue"}], PLAIN, "chat_sharegpt"),
    "other names of roles": (
        [{"role": "User", "content": "Sky?"}, {"role": "bot", "content": "blue"}],
        PLAIN,
        "chat_role_names",
    ),
    "sharegpt's tools": (
        [
            {"from": "system", "value": "Be short."},
            {"from": "human", "value": "Sky?"},
            {"from": "function_call", "value": '{"name": "look", "arguments": {"at": "sky"}}'},
            {"from": "observation", "value": "blue"},
            {"from": "gpt", "value": "blue"},
        ],
        [
            {"role": "system", "content": "Be short."},
            ASKED,
            {"role": "assistant", "content": "", "tool_calls": [CALLED]},
            RESULT,
            SAID,
        ],
        "chat_sharegpt",
    ),
    "openai's parts": (
        [
            {"role": "user", "content": [{"type": "text", "text": "Sky?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "blue"}]},
        ],
        PLAIN,
        "chat_openai",
    ),
    "openai's calls": (
        [
            {"role": "developer", "content": "Be short."},
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0},
            {**RESULT, "tool_call_id": "c1"},
            {**SAID, "name": "Ann", "weight": 1},
        ],
        [
            {"role": "developer", "content": "Be short."},
            ASKED,
            {"role": "assistant", "content": "", "tool_calls": [CALL], "weight": 0},
            {**RESULT, "tool_call_id": "c1"},
            {**SAID, "name": "Ann", "weight": 1},
        ],
        "chat_openai",
    ),
    "pairs": ([["Sky?", "blue"]], PLAIN, "chat_pairs"),
    "messages": (PLAIN, PLAIN, None),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", CHATS)
def test_chats_of_any_column_become_messages(kind: str, container: str, tmp_path: Path) -> None:
    written, expected, code = CHATS[kind]
    rows = [{"n": n, "gespraech": written} for n in range(12)]
    dataset, kept, notices = understood(tmp_path, rows, container)
    assert [row["gespraech"] for row in kept] == [expected] * 12
    assert mapping(dataset) == ({"messages": "gespraech"}, "certain")
    if code is not None:
        assert "12 rows" in notices[code]
    assert ("chat_json_text" in notices) is (container == "csv")


def test_chats_as_python_text(tmp_path: Path) -> None:
    _, kept, notices = understood(tmp_path, [{"talk": str(PLAIN)} for _ in range(12)], "csv")
    assert kept[0]["talk"] == PLAIN
    assert "chat_json_text" in notices


def test_text_that_only_begins_like_a_chat_stays_text(tmp_path: Path) -> None:
    _, kept, notices = understood(tmp_path, [{"text": f"[{n}] is a reference, and {n} a number"} for n in "ab"])
    assert (kept[0]["text"], notices) == ("[a] is a reference, and a a number", {})


def test_an_older_call_becomes_a_tool_call(tmp_path: Path) -> None:
    old = [
        ASKED,
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {**RESULT, "role": "function"},
    ]
    _, ((row), *_), _ = understood(tmp_path, [{"messages": [*old, SAID]}] * 12)
    assert row["messages"][1]["tool_calls"] == [CALLED]
    assert row["messages"][2] == RESULT


# --- tools ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("tools", [[TOOL], [FUNCTION], json.dumps([FUNCTION])])
def test_tools_are_kept_as_json_text(tools: Any, container: str, tmp_path: Path) -> None:
    dataset, kept, notices = understood(tmp_path, [{"messages": PLAIN, "tools": tools}] * 12, container)
    (stored,) = json.loads(kept[0]["tools"])
    assert (stored["type"], stored["function"]["name"]) == ("function", "look")
    assert "12 rows" in notices["chat_tools"]
    assert mapping(dataset) == ({"messages": "messages", "tools": "tools"}, "certain")


def test_rows_without_tools_have_an_empty_cell(tmp_path: Path) -> None:
    rows = [{"messages": PLAIN, "tools": [TOOL] if n % 2 else []} for n in range(12)]
    dataset, kept, notices = understood(tmp_path, rows)
    assert kept[0]["tools"] is None
    assert dataset.profile["columns"][1]["empty"] == 6
    assert "6 rows" in notices["chat_tools"]


# --- several columns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_conversational_prompts_are_joined_with_their_completions(container: str, tmp_path: Path) -> None:
    rows = [{"prompt": [ASKED, SAID, ASKED], "completion": [SAID], "n": n} for n in range(12)]
    dataset, kept, notices = understood(tmp_path, rows, container)
    assert kept[0]["messages"] == [ASKED, {**SAID, "weight": 0}, ASKED, SAID]
    assert kept[0].keys() == {"messages", "n"}
    assert "12 rows" in notices["chat_trl"]
    assert mapping(dataset) == ({"messages": "messages"}, "certain")


INSTRUCTIONS: dict[str, tuple[Row, dict[str, Any]]] = {
    "alpaca": (
        {"instruction": "Name it.", "input": "the colour {}", "output": "blue {}"},
        {"prompt": ["instruction", "input"], "completion": "output"},
    ),
    "alpaca with history": (
        {"instruction": "Again {}?", "output": "blue {}", "system": "Be short.", "history": [["Sky?", "blue"]]},
        {"prompt": ["instruction"], "completion": "output", "system": "system", "history": "history"},
    ),
    "question and answer": (
        {"question": "Sky {}?", "answer": "blue {}"},
        {"prompt": ["question"], "completion": "answer"},
    ),
    "input and output": ({"input": "Sky {}?", "output": "blue {}"}, {"prompt": ["input"], "completion": "output"}),
    "instruction and response": (
        {"instruction": "Sky {}?", "response": "blue {}"},
        {"prompt": ["instruction"], "completion": "response"},
    ),
    "prompt and completion": (
        {"prompt": "Sky {}?", "completion": "blue {}"},
        {"prompt": "prompt", "completion": "completion"},
    ),
    "other letters": ({"Question": "Sky {}?", "Answer": "blue {}"}, {"prompt": ["Question"], "completion": "Answer"}),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_instructions_are_suggested(kind: str, container: str, tmp_path: Path) -> None:
    row, expected = INSTRUCTIONS[kind]
    rows = [{k: v.format(n) if isinstance(v, str) else v for k, v in row.items()} for n in range(12)]
    dataset, kept, _ = understood(tmp_path, rows, container)
    assert mapping(dataset) == (expected, "certain")
    if "history" in row:
        assert kept[0]["history"] == PLAIN


PREFERENCES: dict[str, tuple[Row, dict[str, str]]] = {
    "plain": (
        {"prompt": "Sky {}?", "chosen": "blue", "rejected": "hm"},
        {"prompt": "prompt", "completion": "chosen"},
    ),
    "chats": ({"prompt": [ASKED], "chosen": [SAID], "rejected": [SAID]}, {"messages": "chosen"}),
    "whole chats": ({"chosen": PLAIN, "rejected": PLAIN}, {"messages": "chosen"}),
    "whole chats beside their prompt": ({"prompt": "Sky?", "chosen": PLAIN, "rejected": PLAIN}, {"messages": "chosen"}),
    "sharegpt's": (
        {
            "conversations": [{"from": "human", "value": "Sky?"}],
            "chosen": {"from": "gpt", "value": "blue"},
            "rejected": {"from": "gpt", "value": "hm"},
        },
        {"messages": "chosen"},
    ),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", PREFERENCES)
def test_preferences_are_named(kind: str, container: str, tmp_path: Path) -> None:
    row, expected = PREFERENCES[kind]
    rows = [{k: v.format(n) if isinstance(v, str) else v for k, v in row.items()} for n in range(12)]
    dataset, kept, notices = understood(tmp_path, rows, container)
    message = notices["preference_data"]
    assert "12 rows" in message
    assert all(f'dataset.{field} "{column}"' in message for field, column in expected.items())
    assert mapping(dataset) == (expected, "likely")
    if "messages" in expected:
        assert kept[0]["chosen"] == PLAIN


# --- odd and broken ---------------------------------------------------------------------------------------------------


def test_unusual_orders_are_accepted_and_counted(tmp_path: Path) -> None:
    rows = [
        {"messages": chat} for chat in ([ASKED, ASKED, SAID], [SAID, ASKED, SAID], [ASKED, SAID, ASKED], PLAIN, PLAIN)
    ]
    dataset, _, notices = understood(tmp_path, rows)
    counted = {"two turns of one role in a row": 1, "assistant first": 1, "user last": 1}
    assert dataset.profile["columns"][0]["parts"] == counted
    assert all(f"{part} (1 row)" in notices["order_of_chats"] for part in counted)
    assert "is not trained on" in notices["order_of_chats"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "part of type 'image_url'"),
        (
            [{"from": "human", "value": "a"}, {"from": "function_call", "value": "look!"}],
            "function_call that is not JSON",
        ),
        ([ASKED, {**SAID, "tool_calls": [{"type": "function"}]}], "calls a tool without a name"),
        (
            [ASKED, {**SAID, "tool_calls": [{"function": {"name": "look", "arguments": "[1"}}]}],
            "calls 'look' with arguments that are not a JSON object",
        ),
        (
            [ASKED, {**SAID, "tool_calls": [{"function": {"name": "look", "arguments": nested(40)}}]}],
            "arguments of more than 32 levels",
        ),
        (
            json.dumps([ASKED, {**SAID, "tool_calls": [CALL | {"n": 1}]}]).replace('"n": 1', '"n": 1e999'),
            "is not finite",
        ),
        ([{**ASKED, "tool_calls": [CALL]}, SAID], "only the assistant calls them"),
        ([{"from": "robot", "value": "Beep."}, {"from": "gpt", "value": "a"}], "has the role 'robot'"),
        ([{"role": ["user"], "content": "a"}, SAID], "has the role"),
        ("no chat", "holds text that is no chat, 'no chat'"),
        (7, "holds a value where other rows have chats"),
    ],
)
def test_a_row_that_is_written_wrongly_is_listed(cell: Any, message: str, tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.jsonl", json_lines(*[{"talk": PLAIN}] * 20, {"talk": cell}))
    (problem,) = result["profile"]["problems"]
    assert message in problem["message"]
    assert (problem["row"], len(kept)) == (21, 20)


@pytest.mark.parametrize("levels", [300, 600, 900, 940])
@pytest.mark.parametrize("place", ["arguments", "content", "tools", "other"])
def test_deep_nesting_is_a_bad_row(place: str, levels: int, tmp_path: Path) -> None:
    deep = '{"a":' * levels + "1" + "}" * levels
    call = '{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": %s}}]}'
    row = {
        "arguments": f'{{"talk": [{call % deep}]}}',
        "content": f'{{"talk": [{{"role": "tool", "content": {deep}}}]}}',
        "tools": f'{{"talk": null, "tools": [{{"name": "f", "parameters": {deep}}}]}}',
        "other": f'{{"talk": [{{"role": "user", "content": "a", "x": {deep}}}]}}',
    }[place]
    good = json_lines(*[{"talk": PLAIN, "tools": [TOOL]}] * 30)
    result, kept = read(tmp_path, "a.jsonl", good + row.encode() + b"\n")
    assert len(kept) + len(result["profile"]["problems"]) == 31  # of tools, the text may be deep


def test_bad_tools_are_listed(tmp_path: Path) -> None:
    rows = [{"messages": PLAIN, "tools": [TOOL]}] * 20
    result, _ = read(tmp_path, "a.jsonl", json_lines(*rows, {"messages": PLAIN, "tools": "look"}))
    assert "holds tools that are not a JSON list" in result["profile"]["problems"][0]["message"]


def test_images_in_all_chats_are_refused(tmp_path: Path) -> None:
    seen = [{"role": "user", "content": [{"type": "image"}]}, SAID]
    with pytest.raises(ServiceError, match="a part of type 'image'"):
        read(tmp_path, "a.jsonl", json_lines(*[{"messages": seen}] * 5))
