from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adamss_core.spec import JobSpec, LinearModule, SpecProblem
from adamss_core.spec.contender_names import Contender, check_ranks, contenders_of, headless

BASE = {"name": "a", "base_model": "m", "dataset": {"train": "ds_aaaaaaaaaaaa"}}


def spec(compare: list[str], **fields: Any) -> JobSpec:
    return JobSpec.model_validate(BASE | {"compare": compare} | fields)


def test_contenders_are_named_alike_however_they_are_written() -> None:
    assert spec(["head", "lora:r=8@4e-3"]).compare == ["head", "lora:r=8@0.004"]
    assert contenders_of(spec(["head", "lora:r=1"])) == [Contender(), Contender(1)]
    assert contenders_of(spec([])) == []


@pytest.mark.parametrize(
    ("text", "own", "rate"),
    [
        ("lora:r=1", 0.01, 0.004),
        ("lora:r=64", 0.02, 0.008),
        ("lora:r=1@.5", 0.01, 0.5),
        ("head", 1, None),
    ],
)
def test_the_rate_of_a_lora_follows_the_job_s_unless_it_is_given(text: str, own: float, rate: float | None) -> None:
    assert Contender.parse(text).learning_rate(own) == rate


@pytest.mark.parametrize(
    ("compare", "said"),
    [
        (["full"], 'is no contender. Use "head", "lora:r=1"'),
        (["lora:r=0"], "is no contender"),
        (["lora:r=1@0"], "has a learning rate that is not above 0"),
        (["lora:r=1@11"], "at most 10"),
        (["lora:r=1", "lora:r=1"], "names a contender twice"),
        (["lora:r=1@1e-2", "lora:r=1@0.01"], "names a contender twice"),
        ([f"lora:r={rank}" for rank in range(1, 7)], "at most 5 items"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_a_remedy(compare: list[str], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        spec(compare)
    assert said in str(caught.value)


def test_a_job_that_starts_from_another_one_has_no_contenders() -> None:
    with pytest.raises(ValidationError, match="cannot start from another job's adapter"):
        spec(["head"], init_from="job_aaaaaaaaaaaa")


def test_text_generation_has_no_head_to_compare() -> None:
    problem = headless(spec(["head"], task="text-generation"))
    assert problem is not None
    assert (problem.param, problem.code) == ("compare", "no_head")
    assert "text-generation trains no head" in problem.message
    assert headless(spec(["lora:r=1"], task="text-generation")) is None
    assert headless(spec(["head"])) is None


def test_a_rank_above_a_module_s_width_is_refused() -> None:
    modules = [
        LinearModule(name=name, kind="", in_features=64, out_features=width, bias=False)
        for name, width in (("wide", 64), ("narrow", 16))
    ]
    check_ranks(spec(["head", "lora:r=16"]), modules)
    with pytest.raises(SpecProblem, match="at most 16") as caught:
        check_ranks(spec(["head", "lora:r=17"]), modules)
    assert (caught.value.param, caught.value.code) == ("compare[1]", "rank_too_large")
    assert Contender(2).elements(modules) == 2 * (64 + 64 + 64 + 16)
