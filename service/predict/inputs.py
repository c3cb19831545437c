"""From what was sent to what the model takes: does each input have the fields that the job was trained on?"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from adamss_core.spec import JobSpec
from adamss_core.spec.cells import generation_columns
from service.predict.schemas import InputIn, PredictIn
from service.shared.errors import InvalidRequest

DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,")
Cells = dict[str, Any]


def fields_of(spec: JobSpec) -> tuple[str, ...]:
    """What an input of the job must have: the fields of its `dataset` block without what is to be predicted."""
    if spec.task == "token-classification":
        return ("tokens",)
    if spec.task == "image-classification":
        return ("image",)
    if spec.task == "text-generation":
        return tuple(field for field in generation_columns(spec) if field != "completion")
    return ("text",) if spec.dataset.text_pair is None else ("text", "text_pair")


def read_inputs(spec: JobSpec, wish: PredictIn) -> list[Cells]:
    """The inputs as the model takes them.

    Raises:
        InvalidRequest: one does not fit the job; `param` names it and its field.
    """
    fields = fields_of(spec)
    return [_read(spec, fields, given, f"inputs[{place}]") for place, given in enumerate(wish.inputs)]


def read_options(spec: JobSpec, wish: PredictIn) -> Cells:
    """How text is generated.

    Raises:
        InvalidRequest: the job does not generate text.
    """
    given = wish.model_dump(include={"max_new_tokens", "temperature", "seed"}, exclude_none=True)
    if spec.task == "text-generation":
        return {"max_new_tokens": 128, "temperature": 0.0, "seed": 0} | given
    for name in given:
        raise _wrong(name, f"belongs to text-generation, but the job's task is {spec.task}: leave it out")
    return {}


def _read(spec: JobSpec, fields: Sequence[str], given: InputIn | str, place: str) -> Cells:
    sent = _from_text(fields, given, place) if isinstance(given, str) else given.model_dump(exclude_none=True)
    for name in sent:
        if name not in fields:
            raise _wrong(f"{place}.{name}", f"is nothing that this {spec.task} job takes: it takes {_names(fields)}")
    for name in fields:
        if name not in sent:
            raise _wrong(f"{place}.{name}", f"is required: this {spec.task} job takes {_names(fields)}")
    return {name: _value(name, value, f"{place}.{name}") for name, value in sent.items()}


def _from_text(fields: Sequence[str], text: str, place: str) -> Cells:
    if len(fields) > 1:
        raise _wrong(place, f"must be an object with {_names(fields)}")
    return {fields[0]: [{"role": "user", "content": text}] if fields == ("messages",) else text}


def _value(name: str, value: Any, param: str) -> Any:
    if name == "tokens" and isinstance(value, str):
        value = value.split()
    if name == "image":
        return _image(value, param)
    if name == "messages" and value and value[-1]["role"] != "user":
        raise _wrong(param, "must end with a message of the user, which the model is to answer")
    if not value or (isinstance(value, str) and not value.strip()) or (name == "tokens" and not all(value)):
        raise _wrong(param, "must not be empty")
    return value


def _image(value: str, param: str) -> str:
    plain = DATA_URL.sub("", value, count=1)
    try:
        content = base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(param, "must be the image file in base64; or send the file itself as a form's `file`") from error
    if not content:
        raise _wrong(param, "must not be empty")
    return plain


def _names(fields: Sequence[str]) -> str:
    return " and ".join(fields)


def _wrong(param: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{param} {what}.", code="invalid_input", param=param)
