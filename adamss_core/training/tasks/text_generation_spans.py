"""Turn a row into tokens and mark the trained ones: completions and answers, or everything in plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from adamss_core.spec.cells import Cells
from adamss_core.training.batches import CHUNK, Ids
from adamss_core.training.errors import TrainingError
from adamss_core.training.tasks.text_generation_turns import TEMPLATE_ERRORS

Span = tuple[int, int]
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class UnusableChat(Exception):
    """A chat that cannot be rendered; the text gives reason and remedy, and completes "row 7 ..."."""


@dataclass(frozen=True)
class Rendered:
    """An example as text.

    Attributes:
        text: to be tokenised.
        spans: trained characters, begin and end of each stretch, ascending.
        complete: whether the text holds its special tokens already, as chat templates write them.
    """

    text: str
    spans: list[Span]
    complete: bool = False


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


def render(row: Cells, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """Render a row; raises UnusableChat, or TrainingError missing_chat_template."""
    if "messages" in row:
        return render_chat(row["messages"], tokenizer)
    if "completion" in row:
        text = row["prompt"] + row["completion"]
        return Rendered(text, [(len(row["prompt"]), len(text))])
    return Rendered(row["text"], [(0, len(row["text"]))])


def render_prompt(row: Cells, tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """Render the text that the model continues: a chat up to its last answer, the prompt, or a text.

    Raises as `render`.
    """
    if "messages" in row:
        turns = list(row["messages"])
        if turns and turns[-1].get("role") == "assistant":
            turns.pop()
        return Rendered(_rendered(turns, tokenizer, answer=True), [], complete=True)
    return Rendered(str(row.get("prompt", row.get("text"))), [])


def render_chat(messages: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase) -> Rendered:
    """Render a chat with the tokenizer's own template; train on each turn of the assistant with its end token.

    The template's {% generation %} marks delimit the turns. Without marks, a turn is the text that rendering adds to
    the conversation before it with the assistant's header; where a template renders a turn differently once others
    follow, the turn's content is searched for.
    """
    template = _template(tokenizer)
    if _GENERATION.search(template):
        text, marks = _rendered_with_marks(messages, template, tokenizer)
        return Rendered(text, marks, complete=True)
    whole = _rendered(messages, tokenizer)
    spans: list[Span] = []
    passed = 0  # the end of the question before, as far as the template shows it unchanged
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            spans.append(_turn(messages, index, whole, spans[-1][1] if spans else 0, passed, tokenizer))
            passed = spans[-1][1]
        elif (at := whole.find(message["content"].strip(), passed)) >= 0:
            passed = at + len(message["content"].strip())
    return Rendered(whole, spans, complete=True)


def _turn(
    messages: list[dict[str, Any]], index: int, whole: str, after: int, passed: int, tokenizer: PreTrainedTokenizerBase
) -> Span:
    """Find the characters of the assistant's turn at `index`.

    Args:
        after: the end of the turn before.
        passed: the end of the question; a short answer may occur in it as well.
    """
    before = _rendered(messages[:index], tokenizer, answer=True)
    through = whole if index == len(messages) - 1 else _rendered(messages[: index + 1], tokenizer)
    begin = len(before) if whole.startswith(before) and len(before) >= after else None
    if begin is not None and whole.startswith(through):
        return begin, begin + len(whole[begin : len(through)].rstrip())
    content = messages[index]["content"].strip()
    at = whole.find(content, passed if begin is None else begin)
    if at < 0 and begin is None:
        at = whole.find(content, after)
    if at < 0:
        raise UnusableChat(f"has an answer (message {index + 1}) that the model's chat template does not show as it is")
    return at if begin is None else begin, _end_of_turn(whole, at + len(content), tokenizer)


def _end_of_turn(whole: str, end: int, tokenizer: PreTrainedTokenizerBase) -> int:
    """Include the end token where it follows the content at once: without it the model would not learn to stop."""
    rest = whole[end:].lstrip()
    endings = [token for token in tokenizer.all_special_tokens if token and rest.startswith(token)]
    return end if not endings else whole.index(endings[0], end) + len(max(endings, key=len))


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.chat_template is None:
        raise TrainingError(
            "missing_chat_template",
            "The data holds chat messages, but the base model's tokenizer has no chat template to render them with.",
            hint="Use a model that was made for chats, put its chat_template.jinja into the model's folder, or train "
            "on the columns prompt and completion.",
            where="dataset.messages",
        )
    return str(tokenizer.get_chat_template())


def _rendered(messages: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, *, answer: bool = False) -> str:
    """Render messages.

    Args:
        answer: add the header of the assistant's next turn.
    """
    _template(tokenizer)
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer))
    except TEMPLATE_ERRORS as error:
        raise UnusableChat(f"is refused by the model's chat template ({_short(error)})") from error


def _rendered_with_marks(
    messages: list[dict[str, Any]], template: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, list[Span]]:
    render_with_marks: Any = render_jinja_template  # returns a pair where marks are asked for, against its annotation
    try:
        texts, marks = render_with_marks(
            [messages], chat_template=template, return_assistant_tokens_mask=True, **tokenizer.special_tokens_map
        )
    except TEMPLATE_ERRORS as error:
        raise UnusableChat(f"is refused by the model's chat template ({_short(error)})") from error
    return texts[0], [(int(begin), int(end)) for begin, end in marks[0]]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


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
