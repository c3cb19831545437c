"""Predictions as the API takes and shows them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_INPUTS = 64
MAX_CHARACTERS = 100_000  # of one text; what is beyond the model's length is cut anyway

Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]


class Message(BaseModel):
    """One turn of a chat."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    role: Literal["system", "user", "assistant"]
    """Who says it."""
    content: Text
    """What is said."""


class InputIn(BaseModel):
    """One input, in the fields that the job was trained on."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    text: Text | None = None
    """The text (text-classification; text-generation on plain text: what is to be continued)."""
    text_pair: Text | None = None
    """The second text, where the job was trained on pairs."""
    tokens: Annotated[list[Annotated[str, Field(max_length=1_000)]], Field(max_length=10_000)] | Text | None = None
    """The words, or a text that is split at white space (token-classification)."""
    image: str | None = None
    """The image file in base64 (image-classification)."""
    prompt: Text | None = None
    """The prompt (text-generation)."""
    messages: Annotated[list[Message], Field(max_length=200)] | None = None
    """The chat so far (text-generation)."""


class PredictIn(BaseModel):
    """What to try the model on."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"inputs": ["A joy from beginning to end.", {"text": "A bore."}]}]},
    )

    inputs: Annotated[list[InputIn | str], Field(min_length=1, max_length=MAX_INPUTS)]
    """Inputs, each an object, or a string where a single field is needed."""
    max_new_tokens: Annotated[int, Field(ge=1, le=1_024)] | None = None
    """Longest answer, in tokens (text-generation). Default: 128."""
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    """0 takes the likeliest token each time; larger values draw at random (text-generation). Default: 0."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    """Seed of what is drawn at random (text-generation). Default: 0."""


class PredictionsOut(BaseModel):
    """Answers, in the order of the inputs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    object: Literal["predictions"] = "predictions"
    """Always "predictions"."""
    job: str
    """The job whose model answered."""
    task: str
    """Its task."""
    artifact: Literal["adapter", "lora", "merged"]
    """The artifact that was loaded."""
    data: list[dict[str, Any]]
    """For each input: label, score and scores; labels and scores; value; tokens and tags; or the generated text."""
    seconds: float
    """How long it took, loading the model included."""
