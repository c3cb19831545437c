"""What is rendered, and which tokens are trained."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from adamss_core.spec import reader_of, record_of
from adamss_core.spec.cells import Unusable
from adamss_core.spec.chat import wrong_with_chat
from adamss_core.training.data import Rows
from adamss_core.training.errors import TrainingError
from adamss_core.training.tasks.text_generation_chats import ChatTemplate, Rendered
from adamss_core.training.tasks.text_generation_spans import (
    Example,
    render,
    render_prompt,
    split_chats,
    template_of,
    tokenise_rendered,
)
from adamss_core.training.tasks.text_generation_template import UnusableChat
from tests.adamss_core.training.chats import HEAD, MARKED, TEMPLATE, build_chat_tokenizer, generation_job

TALK = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "What colour is snow?"},
    {"role": "assistant", "content": "It is white."},
    {"role": "user", "content": "And coal?"},
    {"role": "assistant", "content": "It is black."},
]
# Shows what was thought in the last answer only, so an earlier answer looks different once others follow.
LAST_THINKS = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' and loop.last %}"
    "{{ 'hm. ' }}{% endif %}{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
OPENS_A_THOUGHT = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% if m['role'] == 'assistant' %}"
    "{{ '<|end|>' }}{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>hm. ' }}{% endif %}"
)
STRICT = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system here') }}{% endif %}" + TEMPLATE


def trained(example: Example, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Each trained stretch as text."""
    places = np.flatnonzero(example.trained)
    stretches = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
    return [str(tokenizer.decode(example.ids[stretch])) for stretch in stretches if len(stretch)]


def examples_of(row: dict[str, Any], tokenizer: PreTrainedTokenizerFast, limit: int = 999) -> list[Example]:
    rows = split_chats(Rows({name: [value] for name, value in row.items()}, [1]), tokenizer)
    template = template_of(rows, tokenizer)
    return tokenise_rendered([render(cells, template) for cells in rows.cells()], tokenizer, limit)


def tokens_of(row: dict[str, Any], tokenizer: PreTrainedTokenizerFast, limit: int = 999) -> Example:
    (example,) = examples_of(row, tokenizer, limit)
    return example


@pytest.mark.parametrize("template", [TEMPLATE, MARKED])
def test_the_answers_of_a_chat_are_trained_with_their_end(template: str) -> None:
    tokenizer = build_chat_tokenizer(template)
    example = tokens_of({"messages": TALK}, tokenizer)
    assert trained(example, tokenizer) == ["It is white.<|end|>", "It is black.<|end|>"]
    assert tokenizer.decode(example.ids) == str(tokenizer.apply_chat_template(TALK, tokenize=False)).rstrip()


def test_answer_that_a_template_changes_later_is_trained_as_the_last_one() -> None:
    tokenizer = build_chat_tokenizer(LAST_THINKS)
    first, second = examples_of({"messages": TALK}, tokenizer)
    assert trained(first, tokenizer) == ["hm. It is white.<|end|>"]
    assert trained(second, tokenizer) == ["hm. It is black.<|end|>"]
    assert "<|assistant|>It is white.<|end|>" in str(tokenizer.decode(second.ids))


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_a_short_answer_that_stands_in_its_question_too(answer: str) -> None:
    """Where the prompt ends in something that finished turns do not have, the answer is looked for behind the question.

    Before: the word was trained in the question, and the answer was not.
    """
    tokenizer = build_chat_tokenizer(OPENS_A_THOUGHT)
    talk = [
        {"role": "user", "content": "Is 2 even? Answer yes or no."},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "And 3, yes or no?"},
        {"role": "assistant", "content": "no"},
    ]
    example = tokens_of({"messages": talk}, tokenizer)
    assert trained(example, tokenizer) == [f"{answer}<|end|>", "no<|end|>"]


def test_a_template_without_end_tokens() -> None:
    tokenizer = build_chat_tokenizer(
        HEAD + "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    assert trained(tokens_of({"messages": TALK[1:3]}, tokenizer), tokenizer) == ["It is white.<|end|>"]


def test_the_prompt_of_a_chat_ends_with_the_assistants_header() -> None:
    prompt = render_prompt({"messages": TALK}, build_chat_tokenizer())
    assert prompt.text.endswith("<|user|>And coal?\n<|assistant|>")
    assert prompt.text.count("<|assistant|>") == 2


def test_completions_are_trained_with_the_end_token() -> None:
    tokenizer = build_chat_tokenizer()
    row = {"prompt": "What colour is snow?", "completion": " It is white."}
    example = tokens_of(row, tokenizer)
    assert trained(example, tokenizer) == [" It is white.<|end|>"]
    assert tokenizer.decode(example.ids) == row["prompt"] + row["completion"] + "<|end|>"
    assert not example.cut


def test_a_token_across_the_beginning_of_the_completion_is_trained() -> None:
    tokenizer = build_chat_tokenizer()
    assert len(tokenizer.tokenize(" colour")) == 1
    example = tokens_of({"prompt": "What col", "completion": "our is it?"}, tokenizer)
    assert trained(example, tokenizer) == [" colour is it?<|end|>"]


def test_plain_text_is_trained_as_a_whole() -> None:
    tokenizer = build_chat_tokenizer()
    assert trained(tokens_of({"text": "It is white."}, tokenizer), tokenizer) == ["It is white.<|end|>"]


def test_cut_behind() -> None:
    tokenizer = build_chat_tokenizer()
    example = tokens_of({"text": "It is white. It is black."}, tokenizer, limit=3)
    assert (len(example.ids), example.cut) == (3, True)
    whole = tokens_of({"text": "It is"}, tokenizer)
    assert not tokens_of({"text": "It is"}, tokenizer, limit=len(whole.ids)).cut


def test_a_tokenizer_that_gives_no_places_is_asked_for_prefixes() -> None:
    class Slow(PreTrainedTokenizerFast):
        is_fast = False

    slow = Slow(tokenizer_object=build_chat_tokenizer().backend_tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    slow.chat_template = TEMPLATE
    assert trained(tokens_of({"messages": TALK}, slow), slow) == ["It is white.<|end|>", "It is black.<|end|>"]
    assert trained(tokens_of({"prompt": "What?", "completion": " It is"}, slow), slow) == [" It is<|end|>"]
    with pytest.raises(UnusableChat, match="prompt and completion both"):
        tokens_of({"prompt": "What col", "completion": "our is it?"}, slow)


@pytest.mark.parametrize(
    ("messages", "wrong"),
    [
        ([TALK[1], {"role": "tool", "content": "white"}, TALK[2]], "a tool message right after the user (place 2)"),
        ([{"role": "tool", "content": "white"}, TALK[2]], "begins with the tool"),
        ([TALK[1], {"role": "robot", "content": "Beep."}], "the role 'robot'"),
        ([TALK[1], {"role": "assistant", "content": " "}], "number 2 is an empty answer"),
        ([TALK[1], {"role": "assistant"}], "lacks role or content"),
        ([TALK[1], {"role": "assistant", "content": ["It"]}], "content that is not text"),
        ([TALK[1]], "never answers"),
        ([TALK[1], TALK[0], TALK[2]], "system message in place 2"),
        ([TALK[1] | {"weight": 1}, TALK[2]], "number 1 has a weight, but is of the user"),
        ([TALK[1], TALK[2] | {"weight": 0.5}], "number 2 has the weight '0.5'; use 0"),
        ([TALK[1], TALK[2] | {"weight": True}], "number 2 has the weight 'True'; use 0"),
        ([TALK[1], TALK[2] | {"weight": 0}], "every answer has weight 0"),
        ([TALK[1], TALK[2] | {"tool_calls": [{"id": "1"}]}], "number 2 calls a tool without a name"),
        ([TALK[1], TALK[2] | {"tool_calls": "f()"}], "number 2 has tool_calls that are not a list"),
        ([TALK[1], TALK[2] | {"facts": {"id": "1"}}], "number 2 has a nested value in 'facts'"),
    ],
)
def test_chats_that_cannot_be_trained_from(messages: list[dict[str, Any]], wrong: str) -> None:
    found = wrong_with_chat(messages)
    assert found is not None
    assert wrong in found
    reader = reader_of(generation_job(dataset={"train": "ds_" + "a" * 12, "messages": "messages"}))
    with pytest.raises(Unusable, match=re.escape(f"where the row {found}")):
        reader({"messages": messages})


def test_what_a_template_refuses_is_said_in_its_words() -> None:
    with pytest.raises(UnusableChat, match="No system here"):
        render({"messages": TALK}, ChatTemplate(build_chat_tokenizer(STRICT)))


def test_a_tokenizer_without_a_template() -> None:
    with pytest.raises(TrainingError, match="no chat template") as caught:
        ChatTemplate(build_chat_tokenizer(None))
    assert caught.value.code == "missing_chat_template"
    assert render({"text": "It"}, None) == Rendered("It", [(0, 2)])


def test_columns_by_their_usual_names() -> None:
    spec = generation_job()
    with_usual_columns = record_of(spec).with_usual_columns
    assert with_usual_columns(spec, ["messages", "id"]).dataset.messages == "messages"
    pair = with_usual_columns(spec, ["prompt", "completion"]).dataset
    assert (pair.prompt, pair.completion) == ("prompt", "completion")
    assert with_usual_columns(spec, ["text", "prompt"]).dataset == spec.dataset
    named = generation_job(dataset={"train": spec.dataset.train, "text": "body"})
    assert with_usual_columns(named, ["messages", "body"]) is named
