"""OpenAI's shapes of completions: chats and plain prompts, whole and in chunks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.http.openapi import Out
from service.predict.schemas import MOST_MESSAGES

MOST_CHOICES = 8
MOST_CHARACTERS = 400_000  # of a text; what fits says the model's context
Text = Annotated[str, Field(max_length=MOST_CHARACTERS)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(use_attribute_docstrings=True)  # OpenAI adds options that change nothing here

    include_usage: bool = False
    """Send a last chunk with the counts of tokens."""


class CompletionIn(BaseModel):
    """What both kinds of completions take."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: Annotated[str, Field(min_length=1, max_length=400)]
    """A trained model: `ft:…`, or one of its checkpoints, `ft:…:ckpt-step-N`."""
    stream: bool | None = None
    """Send the text in chunks as it is written, as server-sent events."""
    stream_options: StreamOptions | None = None
    """Options of the stream."""
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    """0 takes the likeliest token each time. Default: 1."""
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    """Draw from the likeliest tokens that have this share of the probability. Default: 1."""
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    """Most tokens of a text. Default: as many as fit, up to 1,024."""
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    """Texts that end a text, and do not belong to it."""
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    """Seed of the tokens that are drawn; by default a new one each time."""
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    """Number of texts. Default: 1."""
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    """Only 0."""
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    """Only 0."""
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    """Only empty."""
    user: Annotated[str, Field(max_length=1_000)] | None = None
    """Ignored."""
    metadata: dict[str, Any] | None = None
    """Ignored."""


class TextFormat(BaseModel):
    """Format of an answer."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    type: Literal["text"]
    """Only "text"."""


class ChatIn(CompletionIn):
    """A chat to continue."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "ft:tiny:default::job_7m3k9x2pqr", "messages": []}]}
    )

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MOST_MESSAGES)]
    """The messages so far: role and content, and calls of tools and their answers."""
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    """Functions that the model may call, where it was trained to."""
    tool_choice: Literal["auto", "none"] | None = None
    """"none" shows no tools to the model."""
    parallel_tool_calls: bool | None = None
    """Ignored: the model calls what it was trained to call."""
    logprobs: bool | None = None
    """Report the log probability of each token."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """With `logprobs`: likeliest tokens to report beside each token."""
    max_completion_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    """The newer name of `max_tokens`."""
    response_format: TextFormat | None = None
    """Only text: a model writes what it was trained to write."""
    store: Literal[False] | None = None
    """Nothing is stored."""
    service_tier: Annotated[str, Field(max_length=40)] | None = None
    """Ignored."""
    safety_identifier: Annotated[str, Field(max_length=1_000)] | None = None
    """Ignored."""
    prompt_cache_key: Annotated[str, Field(max_length=1_000)] | None = None
    """Ignored."""


class PromptIn(CompletionIn):
    """A text to continue."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]
    """The text; one a request."""
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    """Report the log probability of each token, and of so many likeliest ones."""
    echo: Literal[False] | None = None
    """Only false."""
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    """Only 1."""
    suffix: Annotated[str, Field(max_length=0)] | None = None
    """Only empty."""


class UsageOut(Out):
    """Counts of tokens."""

    prompt_tokens: int
    """Of the prompt."""
    completion_tokens: int
    """That the model wrote, for all choices."""
    total_tokens: int
    """Both."""


class FunctionCallOut(Out):
    """A function, and the arguments to call it with."""

    name: str
    """The function."""
    arguments: str
    """Its arguments as JSON text."""


class ToolCallOut(Out):
    """A call of a tool."""

    index: int | None = None
    """Its place, in chunks."""
    id: str
    """Its id, for the message that answers it."""
    type: Literal["function"] = "function"
    """Always "function"."""
    function: FunctionCallOut
    """The function with its arguments."""


class ChatLogprobsOut(Out):
    """Log probabilities of an answer."""

    content: list[dict[str, Any]]
    """For each token its text, bytes, log probability, and the likeliest ones."""
    refusal: None = None
    """Always null."""


class ChatMessageOut(Out):
    """An answer."""

    role: Literal["assistant"] = "assistant"
    """Always "assistant"."""
    content: str | None
    """The text; null where the model only calls tools."""
    refusal: None = None
    """Always null."""
    tool_calls: list[ToolCallOut] | None = None
    """Calls of tools."""


Finish = Literal["stop", "length", "tool_calls"]


class ChatChoiceOut(Out):
    """One of the answers."""

    index: int
    """Its place."""
    message: ChatMessageOut
    """The answer."""
    finish_reason: Finish
    """Why it ends: `stop` by itself or at a stop text, `length` at the limit of tokens or time, `tool_calls`."""
    logprobs: ChatLogprobsOut | None = None
    """Its log probabilities."""


class ChatCompletionOut(Out):
    """Answers to a chat."""

    id: str
    """Id of the request."""
    object: Literal["chat.completion"] = "chat.completion"
    """Always "chat.completion"."""
    created: int
    """Unix time."""
    model: str
    """The model that was asked."""
    choices: list[ChatChoiceOut]
    """The answers."""
    usage: UsageOut
    """Tokens of the request."""


class PromptChoiceOut(Out):
    """One of the continuations."""

    index: int
    """Its place."""
    text: str
    """The text."""
    finish_reason: Literal["stop", "length"]
    """Why it ends."""
    logprobs: dict[str, Any] | None = None
    """Its log probabilities: tokens, token_logprobs, top_logprobs and text_offset."""


class CompletionOut(Out):
    """Continuations of a text."""

    id: str
    """Id of the request."""
    object: Literal["text_completion"] = "text_completion"
    """Always "text_completion"."""
    created: int
    """Unix time."""
    model: str
    """The model that was asked."""
    choices: list[PromptChoiceOut]
    """The continuations."""
    usage: UsageOut
    """Tokens of the request."""
