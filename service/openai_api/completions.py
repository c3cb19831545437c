"""Translate requests for completions into inputs of a trained model, checked as those of a prediction."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from pydantic import ValidationError

from adamss_core.spec import JobSpec
from adamss_core.spec.instructions import is_instruction
from adamss_core.spec.job import ArtifactName
from adamss_core.spec.tasks.text_generation import NAME as TASK
from service.datasets.dialects.dialect import Misread
from service.datasets.dialects.messages import read_chat
from service.http.context import Caller
from service.http.gate.validation import explain
from service.openai_api import tuned_models
from service.openai_api.chat_schemas import ChatIn, CompletionIn, PromptIn
from service.openai_api.tool_calls import tool_names
from service.predict import service as predict
from service.predict.inputs import read_inputs
from service.predict.schemas import PredictIn
from service.shared.errors import BadRequest, InvalidRequest

# A LoRA shares its base with others in memory; a merged model is a whole one of its own.
PREFERRED: tuple[ArtifactName, ...] = ("lora", "merged", "adapter")
Piece = dict[str, Any]


@dataclass
class Asked:
    """A request, understood.

    Attributes:
        model: its model's name.
        pieces: of the texts, as `service.predict.service.write` yields them.
        tools: names of the functions that may be called.
        cancelled: set where nobody wants the rest.
    """

    model: str
    pieces: Generator[Piece]
    cancelled: Event
    tools: frozenset[str] = field(default_factory=frozenset)


def ask_chat(caller: Caller, request: ChatIn) -> Asked:
    """Begin the answers to a chat.

    Raises:
        NotFound: the model does not exist.
        BadRequest, InvalidRequest: the messages or an option cannot be used.
    """
    model, found = _find(caller, request.model)
    if found.spec.dataset.messages is None and not is_instruction(found.spec.dataset):
        raise _wrong_model("was trained to continue texts, not to chat: call /v1/completions")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise BadRequest("max_tokens is the older name of max_completion_tokens: send one.", param="max_tokens")
    if request.top_logprobs is not None and not request.logprobs:
        raise BadRequest("top_logprobs needs logprobs: true.", param="top_logprobs")
    tools = request.tools if request.tools and request.tool_choice != "none" else None
    cells = _chat(found.spec, request.messages, tools)
    top = (request.top_logprobs or 0) if request.logprobs else None
    writing = _writing(request, request.max_completion_tokens or request.max_tokens, top)
    cancelled = Event()
    pieces = _in_openais_words(predict.write(caller, found, cells, writing, cancelled), "messages")
    return Asked(model, pieces, cancelled, tool_names(tools or []))


def ask_prompt(caller: Caller, request: PromptIn) -> Asked:
    """Begin the continuations of a text; raises as `ask_chat`."""
    model, found = _find(caller, request.model)
    data = found.spec.dataset
    if data.messages is not None or is_instruction(data):
        raise _wrong_model("was trained on chats: call /v1/chat/completions")
    prompt = request.prompt if isinstance(request.prompt, str) else request.prompt[0]
    if not prompt.strip():
        raise BadRequest("prompt must not be empty.", code="invalid_input", param="prompt")
    cells = {"text" if data.text is not None else "prompt": prompt}
    cancelled = Event()
    writing = _writing(request, request.max_tokens, request.logprobs)
    return Asked(model, _in_openais_words(predict.write(caller, found, cells, writing, cancelled), "prompt"), cancelled)


def _find(caller: Caller, name: str) -> tuple[str, predict.ModelToAsk]:
    model = tuned_models.find(caller, name)
    found = predict.find_model(caller, model.job.id, model.step, PREFERRED)
    if found.spec.task != TASK:
        raise _wrong_model(f"is one of {found.spec.task}, which writes no text: call POST /jobs/{{id}}/predict")
    return model.name, found


def _wrong_model(reason: str) -> BadRequest:
    return BadRequest(f"The model {reason}.", code="wrong_model", param="model")


def _chat(spec: JobSpec, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Return the input of a chat, in the form of our own predictions and checked as these are."""
    try:
        read, _ = read_chat([{name: part for name, part in one.items() if part is not None} for one in messages])
    except Misread as error:
        raise BadRequest(f"messages {error.message}.", code="invalid_input", param="messages") from error
    given = [{name: message[name] for name in message if name not in ("weight", "refusal")} for message in read]
    sent: dict[str, Any] = {"messages": given} | ({"tools": tools} if tools else {})
    if spec.dataset.messages is None:  # an instruction, of which the last message is the prompt
        spec = spec.model_copy(update={"dataset": _as_chat(spec)})
    try:
        checked = PredictIn.model_validate({"inputs": [sent]})
        return read_inputs(spec, checked)[0]
    except ValidationError as error:
        problems = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise _renamed(explain(problems, {"inputs": [sent]}, PredictIn)) from error
    except InvalidRequest as error:
        raise _renamed(error) from error


def _as_chat(spec: JobSpec) -> Any:
    none = dict.fromkeys(("prompt", "completion", "system", "history", "text"))
    return spec.dataset.model_copy(update={**none, "messages": "messages", "tools": "tools"})


def _renamed(error: Any) -> Any:
    """Take the place in our form of predictions from an error."""
    for one in (error, *error.also):
        for inside in ("inputs[0].", "inputs[0]"):
            one.message = one.message.replace(inside, "")
            one.param = (one.param or "messages").replace(inside, "") or "messages"
    return error


def _in_openais_words(pieces: Generator[Piece], param: str) -> Generator[Piece]:
    try:
        yield from pieces
    except InvalidRequest as error:
        error.param = param
        raise


def _writing(request: CompletionIn, max_tokens: int | None, top_logprobs: int | None) -> dict[str, Any]:
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    return {
        "max_tokens": max_tokens,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "seed": secrets.randbits(31) if request.seed is None else request.seed % 2**31,
        "stop": stop,
        "choices": request.n or 1,
        "top_logprobs": top_logprobs,
    }
