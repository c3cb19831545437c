"""Texts of the tokens that a preview lists."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from adamss_core.training.tasks.text import token_texts
from tests.adamss_core.training.tasks.support import build_byte_tokenizer


def build_word_pieces() -> PreTrainedTokenizerBase:
    words = {word: i for i, word in enumerate(["[UNK]", "play", "##ing", "the", ".", "don", "'", "t"])}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def build_sentence_pieces() -> PreTrainedTokenizerBase:
    pieces = [("<unk>", 0.0), ("▁the", -1.0), ("▁play", -1.0), ("ing", -1.0), ("▁", -3.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.mark.parametrize(
    ("build", "text", "expected"),
    [
        (build_word_pieces, "the playing.", ["the", " play", "ing", "."]),
        (build_word_pieces, "don't play", ["don", " '", " t", " play"]),
        (build_sentence_pieces, "the playing", ["the", " play", "ing"]),
        (lambda: build_byte_tokenizer("qwen2"), "a €b", ["a", " ", "", "", "€", "b"]),
    ],
    ids=["word pieces", "quotes", "sentence pieces", "bytes"],
)
def test_tokens_are_shown_as_the_text_that_they_add(
    build: Callable[[], PreTrainedTokenizerBase], text: str, expected: list[str]
) -> None:
    tokenizer = build()
    texts = token_texts(tokenizer, tokenizer(text)["input_ids"])
    assert texts == expected
    assert "".join(texts) == tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False)


def test_a_character_that_is_cut_off_is_shown_so() -> None:
    tokenizer = build_byte_tokenizer("qwen2")
    assert token_texts(tokenizer, tokenizer("a€")["input_ids"][:-1]) == ["a", "", "\ufffd"]
    assert token_texts(tokenizer, []) == []
