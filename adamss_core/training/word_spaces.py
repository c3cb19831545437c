"""Give words that are tokenised one by one the space that they have in running text.

Byte-level tokenizers (GPT-2's kin: Llama 3, Qwen2, SmolLM2) see a word's beginning by the space before it. Given as a
list, words have none: "New", "York" would be tokenised as "NewYork", which the model has never seen. `add_prefix_space`
gives it back in some tokenizers, does nothing in others, and puts it into the middle of words in a third kind: only the
tokens tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FIRST, SECOND = "a", "b2-c's"  # letters, digits and signs, of which some tokenizers make words of their own


def loses_spaces(tokenizer: Any) -> bool:
    """Return whether words in a list have the tokens that they have in running text only with a space before each."""
    return _tokens_of_second(tokenizer, "") != tokens_in_text(tokenizer) == _tokens_of_second(tokenizer, " ")


def tokens_in_text(tokenizer: Any) -> list[int]:
    """Return the tokens that a word has in running text, where it follows another word."""
    first, both = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (FIRST, f"{FIRST} {SECOND}"))
    return list(both[len(first) :])


def tokens_in_list(tokenizer: Any) -> list[int]:
    """Return the tokens that the same word has in a list of words."""
    return _tokens_of_second(tokenizer, "")


def with_spaces(rows: Sequence[list[str]], tokenizer: Any) -> list[list[str]]:
    """Return the words of each row as the tokenizer must be given them."""
    if not loses_spaces(tokenizer):
        return list(rows)
    return [[f" {word}" if word else word for word in row] for row in rows]


def _tokens_of_second(tokenizer: Any, space: str) -> list[int]:
    batch = tokenizer([space + FIRST, space + SECOND], is_split_into_words=True, add_special_tokens=False)
    return [token for token, word in zip(batch["input_ids"], batch.word_ids(), strict=True) if word == 1]
