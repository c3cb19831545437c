from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ValidationError

from adamss_core.spec.spec_model import OneOf

NAMES = ["a", "b", "c"]


class Static(BaseModel):
    name: Literal["a", "b", "c"]


class Looked(BaseModel):
    name: Annotated[str, OneOf(lambda: NAMES)]


@pytest.mark.parametrize("value", ["d", 5, None, ["a"]])
def test_an_unknown_name_is_refused_as_by_a_literal(value: object) -> None:
    errors = []
    for model in (Static, Looked):
        with pytest.raises(ValidationError) as caught:
            model.model_validate({"name": value})
        errors.append(caught.value.errors())
    assert errors[0] == errors[1]


def test_schema_is_that_of_a_literal() -> None:
    static, looked = (model.model_json_schema()["properties"] for model in (Static, Looked))
    assert static == looked


def test_names_are_looked_up_at_each_validation() -> None:
    NAMES.append("d")
    try:
        assert Looked(name="d").name == "d"
    finally:
        NAMES.remove("d")
