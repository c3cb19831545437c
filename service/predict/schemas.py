"""Predictions as the API takes and shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from adamss_core.spec.tasks import all_records
from adamss_core.spec.tasks.base import FieldKind

MAX_INPUTS = 64
MOST_MESSAGES = 1_000  # of one chat
MAX_CHARACTERS = 100_000  # of one text; what is beyond the model's length is cut anyway

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """The speaker."""
    content: Text
    """The text."""
    tool_calls: Annotated[list[dict[str, Any]], Field(max_length=100)] | None = None
    """Calls of the assistant: {"type": "function", "function": {"name", "arguments"}} each."""
    tool_call_id: Annotated[str, Field(max_length=200)] | None = None
    """The call that a message of the tool answers."""
    name: Annotated[str, Field(max_length=200)] | None = None
    """The name of the speaker, or of the function."""


class _InputIn(BaseModel):
    """One input, in the fields that the job was trained on."""

    model_config = ConfigDict(extra="forbid")


WORDS = Annotated[list[Annotated[str, Field(max_length=1_000)]], Field(max_length=10_000)] | Text
TYPES: dict[FieldKind, Any] = {
    "text": Text,
    "words": WORDS,
    "image": str,
    "chat": Annotated[list[Message], Field(max_length=MOST_MESSAGES)],
    "tools": Annotated[list[dict[str, Any]], Field(max_length=200)] | Text,
}
HELP: dict[FieldKind, str] = {
    "text": "",
    "words": ": a list, or a text that is split at white space",
    "image": ": the file in base64",
    "chat": ": the messages so far",
    "tools": ": the functions that may be called, a list or its JSON text",
}


def _fields() -> dict[str, Any]:
    """Return the input fields of all tasks, each optional, for pydantic's `create_model`."""
    helps: dict[str, str] = {}
    types: dict[str, Any] = {}
    owners: dict[str, dict[str, None]] = {}
    for record in all_records():
        beside = [name for names in record.optional_fields.values() for name in names]
        for name in dict.fromkeys([*(name for names in record.input_sets for name in names), *beside]):
            kind = record.field_kinds[name]
            helps[name], types[name] = f"{record.title_of(name)}{HELP[kind]}", TYPES[kind]
            owners.setdefault(name, {})[record.name] = None
    return {
        name: (types[name] | None, Field(None, description=f"{helps[name]} ({', '.join(owners[name])})."))
        for name in types
    }


if TYPE_CHECKING:
    InputIn = _InputIn
else:
    InputIn = create_model("InputIn", __base__=_InputIn, __doc__=_InputIn.__doc__, **_fields())


class PredictIn(BaseModel):
    """Inputs to try the model on."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"inputs": ["A joy from beginning to end.", {"text": "A bore."}]}]},
    )

    inputs: Annotated[list[InputIn | str], Field(min_length=1, max_length=MAX_INPUTS)]
    """Inputs, each an object, or a string where a single field is needed."""
    max_new_tokens: Annotated[int, Field(ge=1, le=1_024)] | None = None
    """Longest answer, in tokens, of a model that writes text. Default: 128."""
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    """0 writes the likeliest token each time; larger values draw tokens at random. Default: 0."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    """Seed of the tokens that are drawn at random. Default: 0."""
    checkpoint: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Step of a checkpoint whose model answers, in the place of the published one; its job need not have ended.
    `GET /jobs/{id}/checkpoints` lists those that are kept."""
    with_base: bool = False
    """Let the base model alone answer, too: each answer then has its answer as `base`. A base model without a trained
    head for the job's classes cannot."""


class PieceOut(BaseModel):
    """One event of a text that a model writes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    of: Literal["trained", "base"]
    """The model that writes; all of the trained model's pieces come first."""
    prompt_tokens: int | None = None
    """In the first event of a model: tokens of the prompt."""
    text: str | None = None
    """The next piece of the text."""
    finish: Literal["stop", "length"] | None = None
    """In the last event of a model: `stop` where it ended its text, `length` at the limit of tokens or time."""
    tokens: int | None = None
    """Beside `finish`: tokens that it wrote."""


class PredictionsOut(BaseModel):
    """Answers, in the order of the inputs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["predictions"] = "predictions"
    """Always "predictions"."""
    job: str
    """The job whose model answered."""
    task: str
    """Its task."""
    artifact: Literal["adapter", "lora", "merged"] | None
    """The artifact that was loaded; null for a checkpoint."""
    checkpoint: int | None = None
    """Step of the checkpoint that was loaded."""
    data: list[dict[str, Any]]
    """For each input an object with the parts that `GET /tasks` lists under `answer` for the job's task, and more that
    the task knows, such as the scores of all classes; with `with_base` also `base`, the base model's answer."""
    seconds: float
    """How long it took, loading the model included."""
