"""Parse the JSON body of a route that takes other bodies too."""

from __future__ import annotations

import json
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

Body = TypeVar("Body", bound=BaseModel)


def is_json(request: Request) -> bool:
    """Return whether the request says that its body is JSON."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def read_json(request: Request, kind: type[Body]) -> Body:
    """Read the body as JSON of a model.

    Raises:
        RequestValidationError: the body is not JSON, or not of the model.
    """
    content = await request.body()
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        context = {"error": str(error)}
        raise RequestValidationError([{"type": "json_invalid", "loc": ("body",), "msg": "", "ctx": context}]) from error
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        errors = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors(include_url=False)]
        raise RequestValidationError(errors, body=body) from error
