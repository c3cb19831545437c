"""Translation of pydantic's errors into one sentence: the invalid field, its fault, and a valid value."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from adamss_core.spec import JobSpec
from service.shared.errors import BadRequest, InvalidRequest, ServiceError, merged

SOURCES = ("body", "query", "path", "header", "cookie")
MAX_EXAMINED = 100  # errors that are looked at, each of which takes time in the event loop
MAX_NAMED = 10  # fields that an error names
MAX_NAME = 100  # characters of a name that is shown, or compared with the known ones
Error = Mapping[str, Any]
Path = tuple[str | int, ...]

_SENTENCES = {
    "missing": "is required",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_unicode": "must be valid Unicode",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_parsing_size": "must be an integer of reasonable size",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "none_required": "must be null",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
}

# Sentences by field in place of a regular expression, which tells people nothing.
_PATTERNS = {
    "base_model": "must be the name of a model that GET /models lists, or a hub id such as org/name; never a path or "
    "address",
    "train": "must be the id of a data set, as POST /datasets returns it, such as ds_4k7f2m9x",
    "eval": "must be the id of a data set, as POST /datasets returns it, such as ds_4k7f2m9x",
    "test": "must be the id of a data set, as POST /datasets returns it, such as ds_4k7f2m9x",
    "revision": "must be the name of a branch or tag, or a commit",
    "name": "must be one line of text",
}


def explain(errors: Sequence[Error], body: Any, model: Any = JobSpec) -> ServiceError:
    """Make the error of the first few invalid fields; for a union, join the requirements of its branches.

    Args:
        errors: pydantic's errors, not empty.
        body: the validated body.
        model: model of the body, for the names of its fields.
    """
    if errors[0]["type"] == "json_invalid":
        reason = errors[0].get("ctx", {}).get("error", "it could not be parsed")
        return BadRequest(f"The body is not valid JSON: {reason}.", code="invalid_json")
    fields: dict[Path, list[Error]] = {}
    for error in errors[:MAX_EXAMINED]:
        fields.setdefault(field_path(error, body), []).append(error)
    if not render(next(iter(fields))):
        return InvalidRequest(
            "The body must be a JSON object, sent with Content-Type: application/json.", code="body_missing"
        )
    faults = _without_branches(fields)
    first = merged([_invalid(path, found, model) for path, found in list(faults.items())[:MAX_NAMED]])
    if others := len(faults) - 1:
        number = f"{'Over ' * (len(errors) > MAX_EXAMINED)}{others}"
        first.message += f" {number} more field{'s are' if others > 1 else ' is'} wrong as well."
    return first


def _without_branches(fields: Mapping[Path, list[Error]]) -> dict[Path, list[Error]]:
    """Drop a later error of a whole value of which a part is at fault already: another branch of the same union."""
    kept: dict[Path, list[Error]] = {}
    for path, found in fields.items():
        if not any(other[: len(path)] == path for other in kept):
            kept[path] = found
    return kept


def _invalid(path: Path, errors: Sequence[Error], model: Any) -> InvalidRequest:
    """Make the error of one field."""
    param = render(path)
    sentences = list(dict.fromkeys(_sentence(error, path, model) for error in errors))
    message = f"{param} {', or '.join(_without_repetition(sentences))}{_got(errors)}."
    code = {"missing": "field_missing", "extra_forbidden": "unknown_field"}.get(errors[0]["type"], "invalid_field")
    return InvalidRequest(message, code=code, param=param)


def field_path(error: Error, body: Any) -> tuple[str | int, ...]:
    """Return the path of the field in the body, without the union branches in pydantic's locations."""
    location = list(error["loc"])
    source = location.pop(0) if location and location[0] in SOURCES else None
    path: list[str | int] = []
    value = body if source in ("body", None) else None
    for index, part in enumerate(location):
        last = index == len(location) - 1
        inside = part in value if isinstance(value, Mapping) else isinstance(part, int) and part < _length(value)
        if value is not None and inside:
            value = value[part]
        elif not (source not in ("body", None) or (last and error["type"] == "missing")):
            continue
        path.append(part)
    field = getattr(error.get("ctx", {}).get("error"), "field", None)
    return (*path, *field.split(".")) if isinstance(field, str) else tuple(path)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def render(path: Sequence[str | int]) -> str:
    """Render a path as a JSON path: `adamss.target_modules[0]`."""
    text = ""
    for part in path:
        name = part if isinstance(part, int) else shortened(part)
        text += f"[{name}]" if isinstance(name, int) else f".{name}" if text else name
    return text


def shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"


def _sentence(error: Error, path: tuple[str | int, ...], model: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_field(path, model)
    if kind == "value_error":
        return str(context.get("error", error["msg"]))
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(path[-1]), f"must match {context.get('pattern', 'the documented pattern')}")
    template = _SENTENCES.get(kind)
    if template is None:
        return str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
    return template.format(**context)


def _without_repetition(sentences: list[str]) -> list[str]:
    return [sentences[0], *(sentence.removeprefix("must be ") for sentence in sentences[1:])]


def _got(errors: Sequence[Error]) -> str:
    value = errors[0].get("input")
    plain = isinstance(value, (bool, int, float, str)) and len(str(value)) <= 60
    relevant = {"missing", "extra_forbidden", "value_error"}.isdisjoint(error["type"] for error in errors)
    return f", but is {value!r}" if plain and relevant else ""


def _unknown_field(path: tuple[str | int, ...], model: Any) -> str:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        model = None
    for part in path[:-1]:
        model = _model_at(model, part)
    if model is None:
        return "is not a known field: leave it out"
    known = sorted(model.model_fields)
    close = difflib.get_close_matches(str(path[-1])[:MAX_NAME], known, n=1, cutoff=0.6)
    if close:
        return f"is not a known field; did you mean {close[0]}?".rstrip("?")
    return "is not a known field; known are " + ", ".join(known)


def _model_at(model: Any, part: str | int) -> type[BaseModel] | None:
    field = model.model_fields.get(part) if model is not None else None
    if field is None:
        return None
    candidates = [field.annotation, *get_args(field.annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
