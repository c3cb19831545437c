"""The base of every block of a spec, and the types that several blocks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.annotated_handlers import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticKnownError, core_schema

Column = Annotated[str, Field(min_length=1, max_length=200)]


class SpecModel(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass(frozen=True)
class OneOf:
    """Validate a string as a `Literal` would, with names that are looked up at each validation.

    Attributes:
        names: returns the allowed names, in the order of the JSON schema's enum.
    """

    names: Callable[[], Sequence[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": list(self.names()), "type": "string"}

    def _validate(self, value: Any) -> str:
        names = self.names()
        if isinstance(value, str) and value in names:
            return value
        *first, last = [repr(name) for name in names]
        expected = f"{', '.join(first)} or {last}" if first else last
        raise PydanticKnownError("literal_error", {"expected": expected})
