"""The `adamss` block is `peft.AdamssConfig`: names, types, defaults and refusals."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

import pytest
from peft import AdamssConfig
from pydantic import ValidationError

from adamss_core.spec import AdamssSpec
from adamss_core.spec.adamss import BEYOND_PEFT

SET_BY_PEFT = {"peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
FROM_PEFT = set(AdamssSpec.model_fields) - BEYOND_PEFT
SCHEDULE = {"init_warmup", "final_warmup", "mask_interval"}  # these take "auto" as well


def plain_types(annotation: Any) -> set[type]:
    """The Python types that an annotation is made of."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return plain_types(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return set().union(*(plain_types(part) for part in typing.get_args(annotation)))
    if origin is typing.Literal:
        return {type(value) for value in typing.get_args(annotation)}
    return {origin or annotation}


def test_every_field_of_peft_is_there_and_no_other_but_ours() -> None:
    theirs = {field.name for field in dataclasses.fields(AdamssConfig)}
    assert theirs == FROM_PEFT
    assert set(AdamssSpec.model_fields) == theirs | BEYOND_PEFT


def test_bias_is_not_that_of_a_lora() -> None:
    with pytest.raises(ValidationError, match=r"bias\n.*'trained' or 'frozen'"):
        AdamssSpec.model_validate({"bias": "none"})


def test_fields_of_ours_never_reach_peft() -> None:
    assert not BEYOND_PEFT & set(AdamssSpec(bias="frozen").config_fields())


def test_defaults_are_the_same() -> None:
    theirs = AdamssConfig()
    ours = AdamssSpec()
    for name in FROM_PEFT - SET_BY_PEFT:
        assert getattr(ours, name) == getattr(theirs, name), name


def test_types_are_the_same() -> None:
    hints = typing.get_type_hints(AdamssConfig, include_extras=True)
    for name in FROM_PEFT - SET_BY_PEFT:
        wanted = plain_types(hints[name])
        found = plain_types(AdamssSpec.model_fields[name].annotation)
        assert found == wanted | ({str} if name in SCHEDULE else set()), name


@pytest.mark.parametrize("name", sorted(set(AdamssSpec.model_fields) - SET_BY_PEFT))
def test_help_is_given_for_every_field(name: str) -> None:
    assert AdamssSpec.model_fields[name].description


REFUSED: list[dict[str, Any]] = [
    {"init_weights": "zeros"},
    {"use_asa": True, "mask_interval": 0},
    {"use_asa": True, "mask_interval": -5},
    {"use_asa": True, "init_warmup": 100, "final_warmup": 100},
    {"use_asa": True, "init_warmup": 200, "final_warmup": 100},
    {"use_asa": True, "asa_target_subspaces": 0},
    {"use_asa": True, "asa_schedule_exponent": 0},
    {"use_asa": True, "asa_schedule_exponent": -1.0},
]
TAKEN: list[dict[str, Any]] = [
    {},
    {"init_weights": None},
    {"init_weights": False},
    {"mask_interval": 0},
    {"init_warmup": 100, "final_warmup": 100},
    {"asa_schedule_exponent": 0.0},
    {"use_asa": True, "init_warmup": 99, "final_warmup": 100},
    {"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": "layer"},
    {"target_modules": "all-linear", "modules_to_save": ["pooler"]},
    {"target_modules": "all-linear", "layers_to_transform": [1]},
    {"target_modules": ".*query", "layers_to_transform": [0]},
    {"target_modules": ["query", "pooler"], "modules_to_save": ["pooler"]},
]


@pytest.mark.parametrize("fields", REFUSED)
def test_what_peft_refuses_is_refused_for_the_same_field(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as theirs:  # noqa: PT011  # peft raises plain ValueErrors; what counts is the field
        AdamssConfig(**fields)
    with pytest.raises(ValidationError) as ours:
        AdamssSpec(**fields)
    found = {
        getattr(error.get("ctx", {}).get("error"), "field", None) or error["loc"][0] for error in ours.value.errors()
    }
    (field,) = found
    assert str(field) in str(theirs.value)


@pytest.mark.parametrize("fields", TAKEN)
def test_what_peft_takes_is_taken_and_means_the_same(fields: dict[str, Any]) -> None:
    theirs = AdamssConfig(**fields)
    ours = AdamssConfig(**AdamssSpec(**fields).config_fields())
    assert ours.to_dict() == theirs.to_dict()


@pytest.mark.parametrize("name", ["r", "num_subspaces", "subspace_rank", "random_seed", "asa_target_subspaces"])
@pytest.mark.parametrize("value", [True, 1.5, "3", None, [1]])
def test_numbers_are_not_guessed(name: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        AdamssSpec(**{name: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": []},
        {"asa_importance_beta": 1.1},
        {"svd_threshold": -0.1},
        {"use_asa": True, "asa_target_subspaces": 0},
        {"r": 0},
        {"num_subspaces": 0},
    ],
)
def test_what_peft_takes_without_effect_or_fails_on_later_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AdamssSpec(**fields)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        AdamssSpec.model_validate({"rank": 3})


def test_a_schedule_must_be_resolved_before_it_is_used() -> None:
    with pytest.raises(ValueError, match="make_plan"):
        AdamssSpec(use_asa=True, init_warmup="auto").config_fields()
