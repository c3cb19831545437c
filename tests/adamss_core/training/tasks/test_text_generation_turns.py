"""The token with which a chat template ends the assistant's turn."""

from __future__ import annotations

import pytest

from adamss_core.training.tasks.text_generation_turns import end_of_turn, end_of_turn_ids
from tests.adamss_core.training.chats import HEAD, MARKED, TEMPLATE, build_chat_tokenizer

CLOSED_EARLY = MARKED.replace(" + '<|end|>' }}{% endgeneration %}", " }}{% endgeneration %}{{ '<|end|>' }}")
TWO_ENDS = TEMPLATE.replace("{% endfor %}", "{% endfor %}{{ eos_token }}", 1)  # as Phi-3: <|end|>\n<|endoftext|>
STRICT = "{{ raise_exception('Never') }}"


@pytest.mark.parametrize("template", [TEMPLATE, MARKED, CLOSED_EARLY, TWO_ENDS])
def test_end_of_turn_is_the_first_token_behind_the_answer(template: str) -> None:
    tokenizer = build_chat_tokenizer(template)
    tokenizer.eos_token = "<|pad|>"  # as base models: the end of a text is not the end of a turn
    assert end_of_turn(tokenizer) == "<|end|>"
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|end|>", "<|pad|>")]
    assert end_of_turn_ids(tokenizer) == ends


@pytest.mark.parametrize("template", [None, HEAD + "{% endfor %}", HEAD + "###\n{% endfor %}", STRICT])
def test_templates_without_an_end_of_turn_leave_eos(template: str | None) -> None:
    tokenizer = build_chat_tokenizer(template)
    assert end_of_turn(tokenizer) is None
    assert end_of_turn_ids(tokenizer) == [tokenizer.eos_token_id]


def test_end_of_turn_that_is_eos_is_listed_once() -> None:
    tokenizer = build_chat_tokenizer()
    assert end_of_turn_ids(tokenizer) == [tokenizer.eos_token_id]


def test_token_added_as_an_ordinary_one_ends_a_turn() -> None:
    tokenizer = build_chat_tokenizer(TEMPLATE.replace("<|end|>", "<turn_end>"))
    assert end_of_turn(tokenizer) is None
    tokenizer.add_tokens(["  ", "<turn_end>"])
    assert end_of_turn(tokenizer) == "<turn_end>"
