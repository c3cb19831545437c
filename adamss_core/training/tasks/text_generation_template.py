"""Call the chat template of a tokenizer: messages and tools in, text out."""

from __future__ import annotations

import re
from copy import copy
from functools import cached_property
from typing import Any, Self

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from adamss_core.chat_parts import TEMPLATE_ERRORS, Messages, Tools, hides_tools
from adamss_core.spec.chat import further_parts
from adamss_core.spec.tools import CALLS, parsed_calls
from adamss_core.training.errors import TrainingError
from adamss_core.training.tasks.text_generation_turns import closing

Span = tuple[int, int]
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class UnusableChat(Exception):
    """A chat that cannot be rendered; the text gives reason and remedy, and completes "row 7 ..."."""


class Template:
    """The chat template of a tokenizer.

    Raises:
        TrainingError: missing_chat_template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._template = _template(tokenizer)
        self._has_marks = _GENERATION.search(self._template) is not None
        self._tools: Tools = None

    def with_tools(self, tools: Tools) -> Self:
        """Return the template that renders chats with these functions for the assistant to call."""
        if not tools:
            return self
        other = copy(self)
        other._tools, other._closing, other._hides_tools = tools, self._closing, self._hides_tools  # found once for all
        other._template = str(self._tokenizer.get_chat_template(tools=tools))
        other._has_marks = _GENERATION.search(other._template) is not None
        return other

    @cached_property
    def _closing(self) -> tuple[str, str]:
        return closing(self._tokenizer)

    def _takes(self, messages: Messages) -> bool:
        try:
            self._apply(messages)
        except TEMPLATE_ERRORS:
            return False
        return True

    @cached_property
    def _hides_tools(self) -> bool:
        return hides_tools(self._with)

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
        return self._with(_shown(messages), self._tools, answer=answer)

    def _with(self, messages: Messages, tools: Tools, *, answer: bool = False) -> str:
        tokenizer: Any = self._tokenizer  # it annotates `tools` as a list of functions alone
        return str(tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=answer))

    def _marks(self, messages: Messages) -> list[Span]:
        """Return the characters between the template's {% generation %} marks."""
        render: Any = render_jinja_template  # returns a pair where marks are asked for, against its annotation
        options = self._tokenizer.special_tokens_map | {"chat_template": self._template}
        try:
            _, marks = render([_shown(messages)], tools=self._tools, return_assistant_tokens_mask=True, **options)
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
    """Return messages without weights, which templates do not know, and without keys that have no value; arguments of
    calls as objects."""
    return [
        {key: message[key] for key in ("role", "content") if key in message}
        | further_parts(message)
        | ({CALLS: parsed_calls(message[CALLS])} if message.get(CALLS) else {})
        for message in messages
    ]
