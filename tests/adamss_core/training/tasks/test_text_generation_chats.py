"""Chats as their template shows them: where turns end, what is hidden, and which answers are trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaConfig

from adamss_core.spec.chat import unusual_parts
from adamss_core.training.errors import TrainingError
from adamss_core.training.preview import PreviewOrder, preview
from adamss_core.training.tasks.text_generation_chats import ChatTemplate, Rendered
from tests.adamss_core.training.chats import MARKED, TEMPLATE, build_chat_tokenizer, generation_job

Message = dict[str, Any]

CLOSED_EARLY = MARKED.replace(" + '<|end|>' }}{% endgeneration %}", " }}{% endgeneration %}{{ '<|end|>' }}")
SIGNED = CLOSED_EARLY.replace("{{ '<|end|>' }}", "{{ ' (signed)<|end|>' }}")
PHI = TEMPLATE.replace("{% endfor %}", "{% endfor %}{% if not add_generation_prompt %}{{ '<|pad|>' }}{% endif %}", 1)
NO_END = TEMPLATE.replace("{{ '<|end|>' }}", "")
NO_SYSTEM = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}" + TEMPLATE
NO_THOUGHTS = TEMPLATE.replace("m['content']", "m['content'].split('</think>')[-1].strip()")
# As Qwen3's: thoughts of the last answer only, which begins with an empty thought where it has none.
LAST_THOUGHT = TEMPLATE.replace(
    "{{ '<|' + m['role'] + '|>' + m['content'] }}",
    "{% set c = m['content'] %}{% set thinks = '</think>' in c %}{% if m['role'] == 'assistant' %}"
    "{% if thinks and not loop.last %}{% set c = c.split('</think>')[-1].strip() %}"
    "{% elif loop.last and not thinks %}{% set c = '<think></think>' + c %}{% endif %}{% endif %}"
    "{{ '<|' + m['role'] + '|>' + c }}",
)
REASONS = TEMPLATE.replace("m['content']", "(m.reasoning_content ~ '. ' if m.reasoning_content else '') + m['content']")
COUNTS = TEMPLATE.replace("m['content']", "m['content'] + (' ' * (m.year - m.year) if m.year else '')")
LOUD = TEMPLATE.replace("m['content']", "m['content'] | upper")


def user(content: str, **keys: Any) -> Message:
    return {"role": "user", "content": content, **keys}


def assistant(content: str, **keys: Any) -> Message:
    return {"role": "assistant", "content": content, **keys}


def system(content: str) -> Message:
    return {"role": "system", "content": content}


THOUGHTS = [
    user("What is 2 and 2?"),
    assistant("<think>\ntwo twice\n</think>\n\nfour"),
    user("And 2 and 3?"),
    assistant("<think>\none more\n</think>\n\nfive"),
]


def previewed(folder: Path, template: str, *chats: list[Message], eos: str = "<|end|>") -> dict[str, Any]:
    """Preview chats; "examples" become (row, text, trained texts), "remarks" code -> message."""
    tokenizer = build_chat_tokenizer(template)
    tokenizer.eos_token = eos
    tokenizer.save_pretrained(folder)
    LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512).save_pretrained(folder)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    spec = generation_job(training={"max_length": 128})
    found = preview(PreviewOrder(spec=spec, rows=folder / "rows.jsonl", model=str(folder), revision=None, count=9))
    found["examples"] = [(entry["row"], entry["text"], trained_texts(entry["tokens"])) for entry in found["examples"]]
    found["remarks"] = {remark["code"]: remark["message"] for remark in found.get("remarks", [])}
    return found


def trained_texts(tokens: list[dict[str, Any]]) -> list[str]:
    text = "".join(token["text"] if token["trained"] else "\0" for token in tokens)
    return [part for part in text.split("\0") if part]


def render(template: str, chat: list[Message]) -> list[tuple[str, list[str]]]:
    """The text of each example with its trained stretches."""
    chats = ChatTemplate(build_chat_tokenizer(template))
    return [(part.text, stretches(part)) for part in map(chats.render, chats.split(chat))]


def stretches(part: Rendered) -> list[str]:
    return [part.text[first:last] for first, last in part.spans]


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [TEMPLATE, MARKED, CLOSED_EARLY])
def test_trained_turn_ends_with_the_templates_end_token(template: str, tmp_path: Path) -> None:
    chat = [user("Sky?"), assistant("blue"), user("Snow?"), assistant("white")]
    found = previewed(tmp_path, template, chat, eos="<|pad|>")
    (_, _, trained), *more = found["examples"]
    assert (trained, more, found["remarks"]) == (["blue<|end|>", "white<|end|>"], [], {})


def test_text_between_marks_and_end_token_is_context() -> None:
    ((_, trained),) = render(SIGNED, [user("Sky?"), assistant("blue")])
    assert trained == ["blue", "<|end|>"]


def test_second_end_token_of_the_last_turn_is_left_out() -> None:
    chat = [user("Sky?"), assistant("blue"), user("Snow?"), assistant("white")]
    ((text, trained),) = render(PHI, chat)
    assert trained == ["blue<|end|>", "white<|end|>"]
    assert text.endswith("white<|end|>")


def test_turns_of_a_template_without_end_token_end_with_eos(tmp_path: Path) -> None:
    chat = [user("Sky?"), assistant("blue"), user("Snow?"), assistant("white")]
    found = previewed(tmp_path, NO_END, chat, chat[:2], eos="<|pad|>")
    assert [(row, trained) for row, _, trained in found["examples"]] == [
        (1, ["blue<|pad|>"]),
        (1, ["white<|pad|>"]),
        (2, ["blue<|pad|>"]),
    ]
    assert "<|assistant|>blue\n<|user|>Snow?" in found["examples"][1][1]  # as generation will see it
    assert "in 2 examined rows" in found["remarks"]["answers_ended_with_eos"]
    assert "1 examined rows with several answers" in found["remarks"]["rows_split"]
    assert found["checked"] == 2


def test_answers_without_any_end_token_are_reported(tmp_path: Path) -> None:
    tokenizer = build_chat_tokenizer(NO_END)
    tokenizer.eos_token = None
    (part,) = map(ChatTemplate(tokenizer).render, [[user("Sky?"), assistant("blue")]])
    assert (stretches(part), part.ending) == (["blue"], "none")


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "chat", "part"),
    [
        (NO_SYSTEM, [system("Answer in rhyme."), user("Sky?"), assistant("blue")], "system message (1 row)"),
        (TEMPLATE, [user("Sky?", name="Ann"), assistant("blue")], "name (1 row)"),
        (TEMPLATE, [user("Sky?"), assistant("blue", reasoning_content="Look up.")], "reasoning_content (1 row)"),
        (NO_THOUGHTS, [user("Sky?"), assistant("<think>Look up.</think>blue")], "<think> (1 row)"),
        (COUNTS, [user("Sky?"), assistant("blue", year=3)], "year (1 row)"),
    ],
)
def test_hidden_parts_are_counted_and_named(template: str, chat: list[Message], part: str, tmp_path: Path) -> None:
    found = previewed(tmp_path, template, chat, [user("Sky?"), assistant("blue")])
    assert f"nothing is learnt from them: {part}." in found["remarks"]["parts_not_shown"]
    assert [trained for _, _, trained in found["examples"]] == [["blue<|end|>"]] * 2


@pytest.mark.parametrize(
    ("template", "chat"),
    [
        (TEMPLATE, [system("Be short."), user("Sky?"), assistant("blue")]),
        (TEMPLATE, [user("Sky?", name=""), assistant("blue", tool_calls=[], weight=1)]),
        (TEMPLATE, [user("Sky?"), assistant("<think>Look up.</think>blue")]),
        (REASONS, [user("Sky?"), assistant("blue", reasoning_content="Look up")]),
        (NO_THOUGHTS, [user("Sky?"), assistant("<think>\n\n</think>blue")]),
    ],
)
def test_parts_that_are_shown_or_empty_are_not_reported(template: str, chat: list[Message]) -> None:
    chats = ChatTemplate(build_chat_tokenizer(template))
    assert not chats.render(chat).hidden


def test_reasoning_that_a_template_shows_is_trained() -> None:
    ((_, trained),) = render(REASONS, [user("Sky?"), assistant("blue", reasoning_content="Look up")])
    assert trained == ["Look up. blue<|end|>"]


def test_answer_that_is_not_shown_is_refused(tmp_path: Path) -> None:
    fine = [user("Sky?"), assistant("BLUE")]
    with pytest.raises(
        TrainingError, match=r"row 2 has an answer \(message 2\) that .* does not show as it is"
    ) as caught:
        previewed(tmp_path, LOUD, fine, [user("Sky?"), assistant("blue")])
    assert caught.value.code == "bad_data"


def test_unusual_parts_of_a_chat_are_named() -> None:
    chat = [system("Be short."), user("Sky?", name="Ann"), assistant("<think>Up.</think>blue", weight=1)]
    assert unusual_parts(chat) == {"system message", "name", "<think>"}
    assert unusual_parts([user("Sky?", name=None), assistant("blue", refusal="")]) == set()


# --- turns ------------------------------------------------------------------------------------------------------------


def test_thoughts_stripped_from_earlier_turns_are_trained_where_they_are_shown(tmp_path: Path) -> None:
    found = previewed(tmp_path, LAST_THOUGHT, THOUGHTS)
    (first, _, thought), (second, text, later) = found["examples"]
    assert (first, thought) == (1, ["<think>\ntwo twice\n</think>\n\nfour<|end|>"])
    assert (second, later) == (1, ["<think>\none more\n</think>\n\nfive<|end|>"])
    assert text.startswith("<|user|>What is 2 and 2?\n<|assistant|>four<|end|>\n<|user|>And")
    assert set(found["remarks"]) == {"rows_split"}
    assert found["checked"] == 1


def test_template_that_keeps_thoughts_gives_one_example() -> None:
    ((_, trained),) = render(TEMPLATE, THOUGHTS)
    assert len(trained) == 2


def test_some_turns_share_an_example() -> None:
    """The first two answers look the same whatever follows; the third does not begin with both."""
    long_talk = [
        user("1?"),
        assistant("one"),
        user("2?"),
        assistant("two"),
        user("3?"),
        assistant("<think>x</think>three"),
    ]
    keeps = LAST_THOUGHT.replace("<think></think>", "")
    assert [trained for _, trained in render(keeps, long_talk)] == [
        ["one<|end|>", "two<|end|>", "<think>x</think>three<|end|>"]
    ]
    assert [trained for _, trained in render(keeps, [*THOUGHTS, user("3?"), assistant("six")])] == [
        ["<think>\ntwo twice\n</think>\n\nfour<|end|>"],
        ["<think>\none more\n</think>\n\nfive<|end|>"],
        ["six<|end|>"],
    ]


def test_answers_that_do_not_follow_the_templates_prompt_are_reported(tmp_path: Path) -> None:
    """As with DeepSeek-R1's template, which opens a thought where the model is to answer, and strips all thoughts."""
    opens = NO_THOUGHTS.replace("{{ '<|assistant|>' }}", "{{ '<|assistant|><think>' }}")
    found = previewed(tmp_path, opens, [user("Sky?"), assistant("<think>Up.</think>blue")])
    assert [trained for _, _, trained in found["examples"]] == [["blue<|end|>"]]
    assert "In 1 examined rows an answer does not follow" in found["remarks"]["prompts_differ"]
    thinks = TEMPLATE.replace("{{ '<|assistant|>' }}", "{{ '<|assistant|><think>' }}")
    found = previewed(tmp_path, thinks, [user("Sky?"), assistant("<think>Up.</think>blue")])
    assert (found["remarks"], found["examples"][0][2]) == ({}, ["Up.</think>blue<|end|>"])


def test_answer_whose_white_space_is_changed_is_trained_as_a_whole() -> None:
    narrow = NO_END.replace("m['content']", "m['content'].replace('\n\n', '\n')").replace(
        "{{ '<|assistant|>' }}", "{{ '<|assistant|> ' }}"
    )
    ((_, trained),) = render(narrow, [user("Sky?"), assistant("<think>Up.</think>\n\nblue")])
    assert trained == ["<think>Up.</think>\nblue<|end|>"]


# --- weights ----------------------------------------------------------------------------------------------------------


def test_answer_of_weight_0_is_shown_and_not_trained_on(tmp_path: Path) -> None:
    chat = [user("Sky?"), assistant("green", weight=0), user("Sure?"), assistant("blue", weight=1)]
    found = previewed(tmp_path, MARKED, chat)
    ((_, text, trained),) = found["examples"]
    assert "<|assistant|>green<|end|>" in text
    assert (trained, found["remarks"]) == (["blue<|end|>"], {})


def test_chat_ends_with_its_last_trained_answer() -> None:
    chat = [user("Sky?"), assistant("blue"), user("Snow?"), assistant("green", weight=0)]
    ((text, trained),) = render(TEMPLATE, chat)
    assert (text, trained) == ("<|user|>Sky?\n<|assistant|>blue<|end|>", ["blue<|end|>"])


def test_rows_without_an_answer_to_train_on_are_left_out(tmp_path: Path) -> None:
    found = previewed(tmp_path, TEMPLATE, [user("Sky?"), assistant("blue")], [user("Sky?"), assistant("red", weight=0)])
    ((reason, count),) = found["left_out"].items()
    assert ("every answer has weight 0" in reason, count, len(found["examples"])) == (True, 1, 1)
