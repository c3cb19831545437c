"""Check inputs against the fields that a job was trained on, and convert them to the values that its model takes."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from adamss_core.spec import JobSpec, record_of
from adamss_core.spec.tasks import all_records
from adamss_core.spec.tasks.base import FieldKind
from adamss_core.spec.tools import read_tools, wrong_with_calls
from service.predict.schemas import InputIn, PredictIn
from service.shared.errors import InvalidRequest

DATA_URL = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,")
OPTIONS = frozenset(PredictIn.model_fields) - {"inputs", "checkpoint", "with_base"}
Cells = dict[str, Any]


def fields_of(spec: JobSpec) -> tuple[str, ...]:
    """Return the fields of an input: those of the job's `dataset` block without the ones to predict."""
    return record_of(spec).input_fields(spec)


def read_inputs(spec: JobSpec, request: PredictIn) -> list[Cells]:
    """Return the inputs as the model takes them.

    Raises:
        InvalidRequest: one does not fit the job; `param` names it and its field.
    """
    return [_read(spec, given, f"inputs[{index}]") for index, given in enumerate(request.inputs)]


def read_options(spec: JobSpec, request: PredictIn) -> Cells:
    """Return the options of a prediction, with their defaults.

    Raises:
        InvalidRequest: the job's task has no such option.
    """
    given = request.model_dump(include=set(OPTIONS), exclude_none=True)
    options = record_of(spec).predict_options
    for name in given:
        if name not in options:
            tasks = dict.fromkeys(record.name for record in all_records() if name in record.predict_options)
            raise _wrong(name, f"belongs to {' and '.join(tasks)}, but the job's task is {spec.task}: leave it out")
    return {**options, **given}


def _read(spec: JobSpec, given: InputIn | str, param: str) -> Cells:
    record, fields = record_of(spec), fields_of(spec)
    kinds, optional = record.field_kinds, record.optional_inputs(spec)
    sent = _from_text(fields, kinds[fields[0]], given, param) if isinstance(given, str) else _sent(given)
    for name in sent:
        if name not in (*fields, *optional):
            takes = _names((*fields, *optional))
            raise _wrong(f"{param}.{name}", f"is nothing that this {spec.task} job takes: it takes {takes}")
    for name in fields:
        if name not in sent:
            raise _wrong(f"{param}.{name}", f"is required: this {spec.task} job takes {_names(fields)}")
    needed = {name: _value(kinds[name], value, f"{param}.{name}") for name, value in sent.items() if name in fields}
    return needed | {name: _beside(kinds[name], sent[name], f"{param}.{name}") for name in optional if name in sent}


def _check_calls(messages: Sequence[Cells], param: str) -> None:
    for number, message in enumerate(messages, start=1):
        if "tool_calls" in message and (wrong := wrong_with_calls(message["tool_calls"])) is not None:
            raise _wrong(param, f"holds messages of which number {number} {wrong}")


def _beside(kind: FieldKind, value: Any, param: str) -> Any:
    """Return the value of a field that may be left out, or empty."""
    if kind == "chat":
        _check_calls(value, param)
    if kind != "tools":
        return value
    try:
        return read_tools(value)
    except ValueError as error:
        raise _wrong(param, str(error)) from error


def _sent(given: InputIn) -> Cells:
    return given.model_dump(exclude_none=True)


def _from_text(fields: Sequence[str], kind: FieldKind, text: str, param: str) -> Cells:
    if len(fields) > 1:
        raise _wrong(param, f"must be an object with {_names(fields)}")
    return {fields[0]: [{"role": "user", "content": text}] if kind == "chat" else text}


def _value(kind: FieldKind, value: Any, param: str) -> Any:
    if kind == "image":
        return _image(value, param)
    if kind == "words" and isinstance(value, str):
        value = value.split()
    if kind == "chat" and value and value[-1]["role"] not in ("user", "tool"):
        raise _wrong(param, "must end with a message of the user or a tool, which the model is to answer")
    if kind == "chat":
        _check_calls(value, param)
    if not value or (isinstance(value, str) and not value.strip()) or (kind == "words" and not all(value)):
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
