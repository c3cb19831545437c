"""Render chats through the tokenizer's template: each trained turn as the model sees it when that turn is the last.

A template may show a turn differently once others follow: Qwen3's, for one, strips thoughts from earlier answers. A
model that writes such a turn never sees the later form, so the turn is trained in a chat that ends with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from adamss_core.chat_parts import Messages, Shape, hidden_parts, shape_of
from adamss_core.spec.chat import (
    THOUGHT,
    WEIGHT,
    join_turns,
    repeated_turns,
    split_thought,
    trained_turns,
)
from adamss_core.spec.tools import CALLS, TOOLS, called_names
from adamss_core.training.tasks.text_generation_template import Span, Template, UnusableChat

Ending = Literal["template", "eos", "none"]


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
        joined: whether neighbours of one role were joined, as the template refuses them.
    """

    text: str
    spans: list[Span]
    complete: bool = False
    hidden: frozenset[str] = frozenset()
    ending: Ending = "template"
    prompted: bool = True
    joined: bool = False


class _Through(NamedTuple):
    """A chat through the end of one turn: the text, the token that ends it (the text's end), and where it is from."""

    text: str
    token: str
    ending: Ending


class ChatTemplate(Template):
    """The chat template of a tokenizer, and what it makes of the turns that are trained on."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        self._hidden: dict[tuple[bool, Shape], frozenset[str]] = {}

    def prompt(self, messages: Messages) -> str:
        """Render messages and the header of the assistant's next turn; raises UnusableChat."""
        return self._render(join_turns(messages, self._turns(messages)), answer=True)

    def render(self, messages: Messages) -> Rendered:
        """Render a chat through its last trained turn, and train on each turn that it shows as if that were the last.

        The template's {% generation %} marks delimit a turn. Without marks, a turn is the text that rendering adds to
        the chat before it with the assistant's header; where that header promises something that the turn does not
        have, the answer is searched for. The token that ends the turn belongs to it.

        Raises:
            UnusableChat: the template refuses the chat, or does not show an answer.
        """
        turns = self._turns(messages)
        joined, messages = len(turns) < len(messages), join_turns(messages, turns)
        taught = self._taught(messages)
        through = {index: self._through(messages, index) for index in taught}
        last = max(through)
        whole = through[last]
        shown = [index for index in taught if whole.text.startswith(through[index].text)]
        hidden, prompted = self._hidden_parts(messages[: last + 1], shown), True
        if len(taught) < len(trained_turns(messages[: last + 1])):
            hidden |= {CALLS}
        spans: list[Span] = []
        for index in shown:
            if self._hides_thought(messages, index, through[index].text):
                hidden |= {THOUGHT}
            prompt = self._before(messages, index, answer=True)
            prompted &= _squashed(through[index].text).startswith(_squashed(prompt))
            spans += self._turn(messages, index, prompt, through[index])
        return Rendered(
            whole.text,
            spans,
            complete=True,
            hidden=hidden,
            ending=whole.ending,
            prompted=prompted,
            joined=joined,
        )

    def split(self, messages: Messages) -> list[Messages]:
        """Split a chat into chats that end with a trained turn each, so that `render` trains on every turn once.

        Turns that belong to another chat get weight 0. A template that shows each turn as if it were the last gives
        one chat. Raises UnusableChat.
        """
        places = self._turns(messages)
        joined = join_turns(messages, places)
        turns = self._taught(joined)
        untaught = set(trained_turns(joined)).difference(turns)  # `render` leaves them out again, and says so
        texts = {index: self._through(joined, index).text for index in turns} if len(turns) > 1 else {turns[0]: ""}
        chats: list[Messages] = []
        while turns:
            last = turns[-1]
            shown = [index for index in turns if texts[last].startswith(texts[index])]
            kept = [place for index in untaught.union(shown) for place in places[index]]
            chats.insert(0, _trained_only(messages[: places[last].stop], kept))
            turns = [index for index in turns if index not in shown]
        return chats

    # --- turns --------------------------------------------------------------------------------------------------------

    def _turns(self, messages: Messages) -> list[range]:
        """Return the messages of each turn: neighbours of one role are joined where the template takes no others."""
        single = [range(index, index + 1) for index in range(len(messages))]
        turns = repeated_turns(messages)
        if len(turns) == len(messages) or self._takes(messages):
            return single
        return turns if self._takes(join_turns(messages, turns)) else single

    def _taught(self, messages: Messages) -> list[int]:
        """Return the trained turns without those that only call tools which the template does not show.

        Raises:
            UnusableChat: no turn is left.
        """
        turns = trained_turns(messages)
        shown = [index for index in turns if messages[index]["content"].strip() or self._shows_calls(messages, index)]
        if not shown:
            raise UnusableChat(
                f"has no answer but calls of tools (message {turns[-1] + 1}), which the model's chat template does not "
                "show; use a model whose template does, or write the call into content"
            )
        return shown

    def _shows_calls(self, messages: Messages, index: int) -> bool:
        text = self._through(messages, index).text
        turn = text[_common(self._before(messages, index), text) :]
        return all(name in turn for name in called_names(messages[index]))

    def _before(self, messages: Messages, index: int, *, answer: bool = False) -> str:
        """Render the chat before a turn; as nothing where a template cannot begin with the assistant's header.

        Args:
            answer: add that header.
        """
        before = messages[:index]
        try:
            return self._render(before, answer=answer)
        except UnusableChat:
            if any(message["role"] == "user" for message in before):
                raise
            return ""

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
        turn = _squashed(text[_common(self._before(messages, index), text) :])
        if _squashed(answer) not in turn:
            raise UnusableChat(
                f"has an answer (message {index + 1}) that the model's chat template does not show as it is"
            )
        return _squashed(thought) not in turn

    def _hidden_parts(self, messages: Messages, turns: Collection[int]) -> frozenset[str]:
        shape = shape_of(messages, turns)
        key = (bool(self._tools), shape)
        if key not in self._hidden:
            self._hidden[key] = hidden_parts(shape, self._apply)
        hidden = self._hidden[key]
        return hidden | {TOOLS} if self._tools and self._hides_tools else hidden


def _trained_only(messages: Messages, turns: Collection[int]) -> Messages:
    """Return messages with weight 0 for each answer but those at `turns`."""
    return [
        message | {WEIGHT: 0} if message["role"] == "assistant" and index not in turns else message
        for index, message in enumerate(messages)
    ]


def _begin(content: str, prompt: str, text: str) -> int:
    """Return the last place of an answer in a text, or of its words behind a thought that the template hides."""
    for part in filter(None, (content.strip(), split_thought(content)[1])):
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
