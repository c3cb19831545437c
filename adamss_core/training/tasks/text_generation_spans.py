"""Turn a row into tokens and mark the trained ones: completions and answers, or everything in plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from adamss_core.spec.cells import Cells
from adamss_core.spec.tasks.text_generation_rows import instruction_as_text
from adamss_core.training.batches import CHUNK, Ids
from adamss_core.training.data import Rows
from adamss_core.training.tasks.text_generation_chats import ChatTemplate, Rendered
from adamss_core.training.tasks.text_generation_template import UnusableChat


@dataclass(frozen=True)
class Example:
    """An example as tokens.

    Attributes:
        ids: (tokens,)
        trained: (tokens,) bool, whether the model is to predict the token.
        cut: whether the example was longer than allowed.
    """

    ids: Ids
    trained: NDArray[np.bool_]
    cut: bool


# --- rendering --------------------------------------------------------------------------------------------------------


def template_of(rows: Rows, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate | None:
    """Return the template by which rows are rendered; None where they are no chats.

    Raises:
        TrainingError: missing_chat_template.
    """
    return ChatTemplate(tokenizer) if "messages" in rows.columns else None


def render(row: Cells, template: ChatTemplate | None) -> Rendered:
    """Render a row; raises UnusableChat."""
    if template is not None:
        return template.with_tools(row.get("tools")).render(row["messages"])
    if "completion" in row:
        text = row["prompt"] + row["completion"]
        return Rendered(text, [(len(row["prompt"]), len(text))])
    return Rendered(row["text"], [(0, len(row["text"]))])


def render_prompt(row: Cells, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """Render the text that the model continues: a chat up to its last answer, the prompt, or a text.

    Raises:
        UnusableChat: the chat template refuses the row.
        TrainingError: missing_chat_template.
    """
    if "messages" in row:
        turns = list(row["messages"])
        if turns and turns[-1].get("role") == "assistant":
            turns.pop()
        return Rendered(ChatTemplate(tokenizer).with_tools(row.get("tools")).prompt(turns), [], complete=True)
    return Rendered(str(row.get("prompt", row.get("text"))), [])


def split_chats(rows: Rows, tokenizer: PreTrainedTokenizerBase) -> Rows:
    """Return a row for each example, with the number of its row: see `ChatTemplate.split`."""
    template = template_of(rows, tokenizer)
    if template is None:
        return rows
    columns: dict[str, list[Any]] = {name: [] for name in rows.columns}
    numbers: list[int] = []
    for number, row in zip(rows.numbers, rows.cells(), strict=True):
        try:
            parts = template.with_tools(row.get("tools")).split(row["messages"])
        except UnusableChat:
            parts = [row["messages"]]  # encoding reports it, with all other such rows
        for name, entries in columns.items():
            entries.extend(parts if name == "messages" else [row[name]] * len(parts))
        numbers += [number] * len(parts)
    return replace(rows, columns=columns, numbers=numbers)


def without_template(rows: Rows) -> Rows:
    """Return instructions as prompts and completions, for models without a chat template."""
    texts = [instruction_as_text(row) for row in rows.cells()]
    return replace(rows, columns={name: [text[name] for text in texts] for name in ("prompt", "completion")})


# --- tokens -----------------------------------------------------------------------------------------------------------


def tokenise_rendered(
    examples: Sequence[Rendered], tokenizer: PreTrainedTokenizerBase, limit: int, *, end: bool = True
) -> list[Example]:
    """Tokenise texts, and cut their ends beyond `limit` tokens.

    Args:
        end: whether texts without special tokens get the end token, as a trained one.
    """
    tokenised: list[Example] = []
    for start in range(0, len(examples), CHUNK):
        part = examples[start : start + CHUNK]
        # The examples of a data set are all of one kind.
        tokenised.extend(_tokenise(part, tokenizer, limit, part[0].complete, end))
    return tokenised


def _tokenise(
    part: Sequence[Rendered], tokenizer: PreTrainedTokenizerBase, limit: int, complete: bool, end: bool
) -> Iterable[Example]:
    fast = bool(tokenizer.is_fast)
    batch = tokenizer(
        [example.text for example in part],
        add_special_tokens=not complete,
        return_offsets_mapping=fast,
        return_attention_mask=False,
        truncation=False,
        verbose=False,
    )
    closing = None if complete else tokenizer.eos_token_id
    for number, example in enumerate(part):
        ids = np.array(batch["input_ids"][number], np.int32)
        trained = np.zeros(len(ids), np.bool_)
        if fast:
            # (tokens, 2); tokens without characters, such as the one that begins a text, are not trained on.
            offsets = np.array(batch["offset_mapping"][number], np.int64).reshape(-1, 2)
            for first, last in example.spans:
                trained |= (offsets[:, 1] > first) & (offsets[:, 0] < last) & (offsets[:, 1] > offsets[:, 0])
        else:
            for first, last in example.spans:
                trained[_token_at(example.text, first, ids, tokenizer, complete) :] = True
                trained[_token_at(example.text, last, ids, tokenizer, complete) :] = False
        if closing is not None:
            if len(ids) and ids[-1] == closing:
                ids, trained = ids[:-1], trained[:-1]
            if end:
                ids, trained = np.append(ids, np.int32(closing)), np.append(trained, True)
        yield Example(ids[:limit], trained[:limit], len(ids) > limit)


def _token_at(text: str, character: int, ids: Ids, tokenizer: PreTrainedTokenizerBase, complete: bool) -> int:
    """Return the token at which a character begins, for tokenizers without offsets: the text before it must be a prefix
    in tokens too."""
    if character >= len(text):
        return len(ids)
    before = tokenizer(text[:character], add_special_tokens=not complete, verbose=False)["input_ids"]
    if not complete and before and before[-1] == tokenizer.eos_token_id:
        before = before[:-1]
    if list(ids[: len(before)]) != list(before):
        raise UnusableChat("has a token that belongs to prompt and completion both, and its tokenizer cannot say where")
    return len(before)
