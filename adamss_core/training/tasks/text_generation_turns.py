"""Find the token with which a chat template ends the assistant's turn."""

from __future__ import annotations

import re

from transformers import PreTrainedTokenizerBase

from adamss_core.chat_parts import TEMPLATE_ERRORS

_ANSWER = "Ultramarine"
_PROBE = [{"role": "user", "content": "Which colour?"}, {"role": "assistant", "content": _ANSWER}]


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the first token that the chat template writes after an answer, as text.

    None without a chat template, and where the template writes none, or only text that the tokenizer takes apart.
    """
    return closing(tokenizer)[0] or None


def closing(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Return the token of `end_of_turn`, and the text from it on to the end of a chat; empty where there is none."""
    if tokenizer.chat_template is None:
        return "", ""
    try:
        text = str(tokenizer.apply_chat_template(_PROBE, tokenize=False))
    except TEMPLATE_ERRORS:
        return "", ""
    _, shown, rest = text.rpartition(_ANSWER)
    # Not special tokens alone: a token that was added as an ordinary one ends a turn as well. Runs of white space,
    # which some vocabularies add, do not.
    tokens = sorted((token for token in tokenizer.get_added_vocab() if token.strip()), key=len, reverse=True)
    first = re.search("|".join(map(re.escape, tokens)), rest) if shown and tokens else None
    return ("", "") if first is None else (first.group(), rest[first.start() :].rstrip())


def end_of_turn_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the ids that end an answer: the one that the chat template writes, where it writes one, then eos."""
    end = end_of_turn(tokenizer)
    ids = [None if end is None else tokenizer.get_added_vocab()[end], tokenizer.eos_token_id]
    return list(dict.fromkeys(token for token in ids if token is not None))
