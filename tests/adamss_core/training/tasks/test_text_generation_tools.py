"""Tools go through the chat template's own argument: calls are trained on, results are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from adamss_core.spec import record_of
from adamss_core.spec.chat import join_turns, repeated_turns
from adamss_core.spec.tools import answer_text
from adamss_core.training.errors import TrainingError
from adamss_core.training.preview import PreviewOrder, preview
from adamss_core.training.tasks.encoder_decoder_generation import EncoderDecoderGeneration
from adamss_core.training.tasks.text_generation import TextGeneration
from adamss_core.training.tasks.text_generation_chats import ChatTemplate
from adamss_core.training.tasks.text_generation_template import UnusableChat
from tests.adamss_core.training.chats import TEMPLATE, build_chat_tokenizer, generation_job
from tests.adamss_core.training.tasks.test_text_generation_chats import assistant, stretches, trained_texts, user

# As in the templates of Qwen2.5 and Hermes: functions in the system message, calls as tagged JSON, results as a user.
WITH_TOOLS = (
    "{% if tools %}{{ '<|system|>Tools:' }}{% for t in tools %}{{ '\n' + (t | tojson) }}{% endfor %}"
    "{{ '\n' }}{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ '<|user|>RESULT ' + m.content }}"
    "{% elif m.role == 'assistant' %}{{ '<|assistant|>' + m.content }}"
    "{% for c in m.tool_calls %}"
    "{{ 'CALL {\"name\": \"' + c.function.name + '\", \"arguments\": ' + (c.function.arguments | tojson) + '}' }}"
    "{% endfor %}{{ '<|end|>' }}"
    "{% else %}{{ '<|' + m.role + '|>' + m.content }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}{% endfor %}" + TEMPLATE
)
TOOLS = [{"type": "function", "function": {"name": "look", "description": "Looks up.", "parameters": {}}}]


def call(name: str = "look", arguments: Any = '{"at": "sky"}') -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


CALLING = [
    user("Sky?"),
    assistant("", tool_calls=[call()]),
    {"role": "tool", "content": "blue"},
    assistant("It is blue"),
]
SHOWN_CALL = 'CALL {"name": "look", "arguments": {"at": "sky"}}<|end|>'


def examined(folder: Path, template: str | None, *rows: dict[str, Any], **dataset: str) -> dict[str, Any]:
    tokenizer = build_chat_tokenizer(template)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(folder)
    LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512).save_pretrained(folder)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = generation_job(dataset={"train": "ds_" + "a" * 12, **dataset}, training={"max_length": 512})
    found = preview(PreviewOrder(spec=spec, rows=folder / "rows.jsonl", model=str(folder), revision=None, count=9))
    found["remarks"] = {remark["code"]: remark["message"] for remark in found["remarks"]}
    return found


@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS)])
def test_calls_are_trained_and_results_shown(tools: Any, tmp_path: Path) -> None:
    found = examined(tmp_path, WITH_TOOLS, {"messages": CALLING, "tools": tools}, messages="messages", tools="tools")
    (example,) = found["examples"]
    assert trained_texts(example["tokens"]) == [SHOWN_CALL, "It is blue<|end|>"]
    assert '"description": "Looks up."' in example["text"]
    assert "<|user|>RESULT blue" in example["text"]
    assert found["remarks"] == {}


def test_a_column_of_tools_is_taken_by_its_name(tmp_path: Path) -> None:
    found = examined(tmp_path, WITH_TOOLS, {"messages": CALLING, "tools": json.dumps(TOOLS)})
    assert "Looks up." in found["examples"][0]["text"]


def test_each_row_has_its_own_tools(tmp_path: Path) -> None:
    other = [{"type": "function", "function": {"name": "hear"}}]
    rows = [{"messages": CALLING, "tools": tools} for tools in (TOOLS, other, None)]
    texts = [example["text"] for example in examined(tmp_path, WITH_TOOLS, *rows)["examples"]]
    assert [("Looks up." in text, '"hear"' in text) for text in texts] == [(True, False), (False, True), (False, False)]


def test_tools_that_are_no_functions_leave_the_row_out(tmp_path: Path) -> None:
    found = examined(tmp_path, WITH_TOOLS, {"messages": CALLING, "tools": "[1]"}, {"messages": CALLING, "tools": None})
    assert found["left_out"] == {"whose tools are not a JSON list of functions with a name": 1}


def test_a_template_without_tools_is_reported(tmp_path: Path) -> None:
    """The calls are not in its text, so an empty answer would be learnt: the turn is shown, and not trained on."""
    found = examined(tmp_path, TEMPLATE, {"messages": CALLING, "tools": TOOLS})
    assert [trained_texts(example["tokens"]) for example in found["examples"]] == [["It is blue<|end|>"]]
    assert "tool_calls (1 row), tools (1 row)" in found["remarks"]["parts_not_shown"]


def test_nothing_but_calls_that_are_not_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"row 1 has no answer but calls of tools \(message 2\)"):
        examined(tmp_path, TEMPLATE, {"messages": CALLING[:2]})


def test_a_call_beside_words_is_reported_where_it_is_not_shown() -> None:
    part = ChatTemplate(build_chat_tokenizer(TEMPLATE)).render([user("Sky?"), assistant("Wait.", tool_calls=[call()])])
    assert (stretches(part), part.hidden) == (["Wait.<|end|>"], frozenset({"tool_calls"}))


def test_prompt_for_an_answer_shows_tools_and_results() -> None:
    prompt = ChatTemplate(build_chat_tokenizer(WITH_TOOLS)).with_tools(TOOLS).prompt(CALLING[:3])
    assert "Looks up." in prompt
    assert prompt.endswith("<|user|>RESULT blue\n<|assistant|>")


def test_an_expected_call_is_written_as_json() -> None:
    assert answer_text(CALLING[1]) == '{"name": "look", "arguments": {"at": "sky"}}'
    assert answer_text(CALLING[3]) == "It is blue"


# --- turns that do not alternate --------------------------------------------------------------------------------------


def test_turns_are_joined_where_the_template_demands_it(tmp_path: Path) -> None:
    chat = [user("Sky?"), user("Well?"), assistant("It is"), assistant("blue")]
    found = examined(tmp_path, STRICT, {"messages": chat}, {"messages": [user("Snow?"), assistant("white")]})
    first, _ = found["examples"]
    assert "<|user|>Sky?\n\nWell?\n<|assistant|>It is\n\nblue<|end|>" in first["text"]
    assert trained_texts(first["tokens"]) == ["It is\n\nblue<|end|>"]
    assert "In 1 examined rows neighbouring turns" in found["remarks"]["turns_joined"]


def test_turns_stay_apart_where_the_template_takes_them(tmp_path: Path) -> None:
    chat = [user("Sky?"), user("Well?"), assistant("It is"), assistant("blue")]
    found = examined(tmp_path, TEMPLATE, {"messages": chat})
    assert "<|user|>Sky?\n<|user|>Well?" in found["examples"][0]["text"]
    assert trained_texts(found["examples"][0]["tokens"]) == ["It is<|end|>", "blue<|end|>"]
    assert found["remarks"] == {}


def test_answers_of_other_weight_are_not_joined() -> None:
    chat = [user("Sky?"), assistant("green", weight=0), assistant("blue")]
    assert [len(turn) for turn in repeated_turns(chat)] == [1, 1, 1]
    with pytest.raises(UnusableChat, match="roles must alternate"):
        ChatTemplate(build_chat_tokenizer(STRICT)).render(chat)


def test_joined_turns_keep_their_calls() -> None:
    chat = [user("Sky?"), assistant("Wait.", tool_calls=[call()]), assistant("", tool_calls=[call("hear")])]
    joined = join_turns(chat, repeated_turns(chat))
    assert [len(joined), joined[1]["content"], len(joined[1]["tool_calls"])] == [2, "Wait.", 2]


def test_an_assistant_first_is_trained_where_the_template_takes_it(tmp_path: Path) -> None:
    chat = [assistant("Hello"), user("Sky?"), assistant("blue")]
    found = examined(tmp_path, TEMPLATE, {"messages": chat})
    assert trained_texts(found["examples"][0]["tokens"]) == ["Hello<|end|>", "blue<|end|>"]
    # As Qwen's templates, which look at the first message before there is one.
    looks = "{% if messages[0]['role'] == 'system' %}{% endif %}" + TEMPLATE
    assert trained_texts(examined(tmp_path, looks, {"messages": chat})["examples"][0]["tokens"])[0] == "Hello<|end|>"


def test_an_assistant_first_that_the_template_refuses_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"row 1 is refused by the model's chat template .* must alternate"):
        examined(tmp_path, STRICT, {"messages": [assistant("Hello"), user("Sky?"), assistant("blue")]})


def test_a_last_turn_of_the_user_is_left_out(tmp_path: Path) -> None:
    found = examined(tmp_path, STRICT, {"messages": [user("Sky?"), assistant("blue"), user("Thanks")]})
    assert found["examples"][0]["text"] == "<|user|>Sky?\n<|assistant|>blue<|end|>"


# --- instructions -----------------------------------------------------------------------------------------------------

ALPACA = {"do": "Name it.", "about": "The sky", "out": "blue", "sys": "Be short.", "before": CALLING[:1] + CALLING[3:]}
FIELDS: dict[str, Any] = {"prompt": ["do", "about"], "completion": "out", "system": "sys", "history": "before"}


def test_an_instruction_is_rendered_as_a_chat(tmp_path: Path) -> None:
    found = examined(tmp_path, TEMPLATE, ALPACA, {**ALPACA, "about": "", "sys": None, "before": []}, **FIELDS)
    first, second = found["examples"]
    assert first["text"] == (
        "<|system|>Be short.\n<|user|>Sky?\n<|assistant|>It is blue<|end|>\n"
        "<|user|>Name it.\n\nThe sky\n<|assistant|>blue<|end|>"
    )
    assert trained_texts(first["tokens"]) == ["blue<|end|>"]
    assert second["text"] == "<|user|>Name it.\n<|assistant|>blue<|end|>"


def test_an_instruction_is_read_as_text_without_a_template(tmp_path: Path) -> None:
    (example,) = examined(tmp_path, None, ALPACA, **FIELDS)["examples"]
    assert example["text"] == "Be short.\n\nSky?\n\nIt is blue\n\nName it.\n\nThe sky\n\nblue<|end|>"
    assert trained_texts(example["tokens"]) == ["blue<|end|>"]


def test_a_single_prompt_stays_plain_text(tmp_path: Path) -> None:
    (example,) = examined(tmp_path, TEMPLATE, ALPACA, prompt="do", completion="out")["examples"]
    assert example["text"] == "Name it.blue<|end|>"


def test_a_system_column_goes_before_chats_that_have_none(tmp_path: Path) -> None:
    rows = [
        {"messages": PLAIN, "sys": "Be short."},
        {"messages": [{"role": "system", "content": "Own."}, *PLAIN], "sys": "x"},
    ]
    found = examined(tmp_path, TEMPLATE, *rows, messages="messages", system="sys")
    assert [example["text"].splitlines()[0] for example in found["examples"]] == [
        "<|system|>Be short.",
        "<|system|>Own.",
    ]


PLAIN = [user("Sky?"), assistant("blue")]


def test_an_input_is_asked_as_it_was_trained() -> None:
    task = TextGeneration(generation_job(dataset={"train": "ds_" + "a" * 12, **FIELDS}))
    given = {"prompt": "Name it.", "system": "Be short.", "history": PLAIN}
    chat = task.asked(given, build_chat_tokenizer())["messages"]
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "user"]
    text = task.asked(given, build_chat_tokenizer(None))
    assert text == {"prompt": "Be short.\n\nSky?\n\nblue\n\nName it.\n\n"}
    assert task.asked(text, build_chat_tokenizer(None)) == text


def test_an_instruction_without_prompt_is_left_out(tmp_path: Path) -> None:
    found = examined(tmp_path, TEMPLATE, ALPACA, {**ALPACA, "do": "", "about": None}, **FIELDS)
    assert found["left_out"] == {"without a prompt": 1}


def test_an_encoder_decoder_reads_an_instruction_as_text() -> None:
    spec = generation_job(dataset={"train": "ds_" + "a" * 12, **FIELDS})
    read = record_of(spec).for_model(is_encoder_decoder=True).reader(spec)
    prompt = "Be short.\n\nSky?\n\nIt is blue\n\nName it.\n\nThe sky\n\n"
    assert read(ALPACA) == {"prompt": prompt, "completion": "blue"}
    assert read.fields == ("prompt", "completion")
    asked = EncoderDecoderGeneration(spec).asked({"prompt": "Name it."}, build_chat_tokenizer())
    assert asked == {"prompt": "Name it.\n\n"}
