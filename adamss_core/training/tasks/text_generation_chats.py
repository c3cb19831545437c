"""Render chats through the tokenizer's template: each trained turn as the model sees it when that turn is the last.

A template may show a turn differently once others follow: Qwen3's, for one, strips thoughts from earlier answers. A
model that writes such a turn never sees the later form, so the turn is trained in a chat that ends with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from adamss_core.chat_parts import TEMPLATE_ERRORS, Messages, Shape, hidden_parts, shape_of
from adamss_core.spec.chat import THOUGHT, WEIGHT, further_parts, split_thought, trained_turns
from adamss_core.training.errors import TrainingError
from adamss_core.training.tasks.text_generation_turns import closing

Span = tuple[int, int]
Ending = Literal["template", "eos", "none"]
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
        hidden: parts of the chat that the template does not show, such as "system message".
        ending: what ends each trained turn of a chat: a token of the template, eos in its place, or no token.
        prompted: whether each trained turn follows the words with which the template prompts the model for it.
    """

    text: str
    spans: list[Span]
    complete: bool = False
    hidden: frozenset[str] = frozenset()
    ending: Ending = "template"
    prompted: bool = True


class _Through(NamedTuple):
    """A chat through the end of one turn: the text, the token that ends it (the text's end), and where it is from."""

    text: str
    token: str
    ending: Ending


class ChatTemplate:
    """The chat template of a tokenizer.

    Raises:
        TrainingError: missing_chat_template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._template = _template(tokenizer)
        self._has_marks = _GENERATION.search(self._template) is not None
        self._hidden: dict[Shape, frozenset[str]] = {}

    @cached_property
    def _closing(self) -> tuple[str, str]:
        return closing(self._tokenizer)

    def prompt(self, messages: Messages) -> str:
        """Render messages and the header of the assistant's next turn; raises UnusableChat."""
        return self._render(messages, answer=True)

    def render(self, messages: Messages) -> Rendered:
        """Render a chat through its last trained turn, and train on each turn that it shows as if that were the last.

        The template's {% generation %} marks delimit a turn. Without marks, a turn is the text that rendering adds to
        the chat before it with the assistant's header; where that header promises something that the turn does not
        have, the answer is searched for. The token that ends the turn belongs to it.

        Raises:
            UnusableChat: the template refuses the chat, or does not show an answer.
        """
        through = {index: self._through(messages, index) for index in trained_turns(messages)}
        last = max(through)
        whole = through[last]
        turns = [index for index, turn in through.items() if whole.text.startswith(turn.text)]
        hidden, prompted = self._hidden_parts(messages[: last + 1], turns), True
        spans: list[Span] = []
        for index in turns:
            if self._hides_thought(messages, index, through[index].text):
                hidden |= {THOUGHT}
            prompt = self._render(messages[:index], answer=True)
            prompted &= _squashed(through[index].text).startswith(_squashed(prompt))
            spans += self._turn(messages, index, prompt, through[index])
        return Rendered(whole.text, spans, complete=True, hidden=hidden, ending=whole.ending, prompted=prompted)

    def split(self, messages: Messages) -> list[Messages]:
        """Split a chat into chats that end with a trained turn each, so that `render` trains on every turn once.

        Turns that belong to another chat get weight 0. A template that shows each turn as if it were the last gives
        one chat. Raises UnusableChat.
        """
        turns = trained_turns(messages)
        if len(turns) == 1:
            return [messages[: turns[0] + 1]]
        texts = {index: self._through(messages, index).text for index in turns}
        chats: list[Messages] = []
        while turns:
            last = turns[-1]
            shown = [index for index in turns if texts[last].startswith(texts[index])]
            chats.insert(0, _trained_only(messages[: last + 1], shown))
            turns = [index for index in turns if index not in shown]
        return chats

    # --- one turn -----------------------------------------------------------------------------------------------------

    def _through(self, messages: Messages, index: int) -> _Through:
        """Render a chat through the token that ends the turn at `index`; eos where the template writes none."""
        text = self._render(messages[: index + 1]).rstrip()
        token, rest = self._closing
        if token and text.endswith(rest):
            return _Through(text[: len(text) - len(rest) + len(token)], token, "template")
        eos = self._tokenizer.eos_token
        if eos is None:
            return _Through(text, "", "none")
        return _Through(text, eos, "template") if text.endswith(eos) else _Through(text + eos, eos, "eos")

    def _turn(self, messages: Messages, index: int, prompt: str, through: _Through) -> list[Span]:
        """Find the trained characters of the turn with which a text ends.

        Args:
            prompt: the chat before the turn, with the assistant's header.
        """
        text, end = through.text, len(through.text) - len(through.token)
        if not self._has_marks:
            begin = len(prompt) if text.startswith(prompt) else _begin(messages[index]["content"], prompt, text[:end])
            return [(begin, len(text))]
        header = _common(prompt, text)
        marks = [(first, min(last, end)) for first, last in self._marks(messages[: index + 1]) if last > header]
        marks = [(first, last) for first, last in marks if first < last]
        if not marks or text[marks[-1][1] : end].strip():
            return [*marks, (end, len(text))] if marks and through.token else marks
        # Marks may close before the end token: without it the model would not learn to stop.
        *others, (first, _) = marks
        return [*others, (first, len(text))]

    def _hides_thought(self, messages: Messages, index: int, text: str) -> bool:
        """Return whether the template leaves out the thought of an answer; raises UnusableChat for the answer itself.

        White space is not compared, as templates trim it.
        """
        thought, answer = split_thought(messages[index]["content"])
        turn = _squashed(text[_common(self._render(messages[:index]), text) :])
        if _squashed(answer) not in turn:
            raise UnusableChat(
                f"has an answer (message {index + 1}) that the model's chat template does not show as it is"
            )
        return _squashed(thought) not in turn

    def _hidden_parts(self, messages: Messages, turns: Collection[int]) -> frozenset[str]:
        shape = shape_of(messages, turns)
        if shape not in self._hidden:
            self._hidden[shape] = hidden_parts(shape, self._apply)
        return self._hidden[shape]

    # --- the template -------------------------------------------------------------------------------------------------

    def _render(self, messages: Messages, *, answer: bool = False) -> str:
        """Render messages; raises UnusableChat.

        Args:
            answer: add the header of the assistant's next turn.
        """
        try:
            return self._apply(messages, answer=answer)
        except TEMPLATE_ERRORS as error:
            raise _refused(error) from error

    def _apply(self, messages: Messages, *, answer: bool = False) -> str:
        """Render messages; raises one of TEMPLATE_ERRORS."""
        return str(self._tokenizer.apply_chat_template(_shown(messages), tokenize=False, add_generation_prompt=answer))

    def _marks(self, messages: Messages) -> list[Span]:
        """Return the characters between the template's {% generation %} marks."""
        render: Any = render_jinja_template  # returns a pair where marks are asked for, against its annotation
        options = self._tokenizer.special_tokens_map | {"chat_template": self._template}
        try:
            _, marks = render([_shown(messages)], return_assistant_tokens_mask=True, **options)
        except TEMPLATE_ERRORS as error:
            raise _refused(error) from error
        return [(int(begin), int(end)) for begin, end in marks[0]]


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


def _refused(error: Exception) -> UnusableChat:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UnusableChat(f"is refused by the model's chat template ({reason})")


def _shown(messages: Messages) -> Messages:
    """Return messages without weights, which templates do not know, and without keys that have no value."""
    return [
        {key: message[key] for key in ("role", "content") if key in message} | further_parts(message)
        for message in messages
    ]


def _trained_only(messages: Messages, turns: Collection[int]) -> Messages:
    """Return messages with weight 0 for each answer but those at `turns`."""
    return [
        message | {WEIGHT: 0} if message["role"] == "assistant" and index not in turns else message
        for index, message in enumerate(messages)
    ]


def _begin(content: str, prompt: str, text: str) -> int:
    """Return the last place of an answer in a text, or of its words behind a thought that the template hides."""
    for part in (content.strip(), split_thought(content)[1]):
        if (place := text.rfind(part)) >= 0:
            return place
        if matches := list(re.finditer(r"\s+".join(map(re.escape, part.split())), text)):  # white space was changed
            return matches[-1].start()
    return _common(prompt, text)


def _common(one: str, other: str) -> int:
    """Return the number of characters with which both texts begin."""
    if other.startswith(one):
        return len(one)
    return next(place for place, pair in enumerate(zip_longest(one, other)) if pair[0] != pair[1])


def _squashed(text: str) -> str:
    return "".join(text.split())
