"""Names match as in PEFT, and the estimate is what a model then has."""

from __future__ import annotations

from typing import Any

import pytest
from peft import AdamssConfig
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from adamss_core import get_adamss_model
from adamss_core.spec import (
    AdamssSpec,
    JobSpec,
    ModelFacts,
    SpecProblem,
    check_modules_to_save,
    estimate,
    make_plan,
    match_targets,
    schedule,
    total_subspaces,
)
from adamss_core.spec.labels import as_text, class_name
from tests.models import tiny_bert, tiny_gpt2, tiny_llama

DATA = {"train": "ds_abcdefgh"}


def facts_of(model: PreTrainedModel) -> ModelFacts:
    from adamss_core.inspection import head_modules, linear_modules

    heads = head_modules(model)
    return ModelFacts.model_validate(
        {
            "model_type": model.config.model_type,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "linear_modules": linear_modules(model),
            "modules": {name: type(module).__name__ for name, module in model.named_modules() if name},
            "head_modules": heads,
            "head_parameters_per_label": 65,
            "default_targets": ["query", "value"],
            "max_positions": 32,
        }
    )


SPECS: list[dict[str, Any]] = [
    {"target_modules": ["query", "value"]},
    {"target_modules": ["attention.self.query", "bert.encoder.layer.1.output.dense"]},
    {"target_modules": ["uery"]},
    {"target_modules": ["dense"], "layers_to_transform": 1},
    {"target_modules": ["dense", "query"], "layers_to_transform": [0], "layers_pattern": "layer"},
    {"target_modules": ["query"], "layers_to_transform": [0, 1], "layers_pattern": ["block", "layer"]},
    {"target_modules": ["query"], "layers_to_transform": []},
    {"target_modules": r".*attention.*(query|key)"},
    {"target_modules": r"bert\.encoder\.layer\.0\..*dense"},
    {"target_modules": r"query|.*value$"},
    {"target_modules": ["query", "dense"], "modules_to_save": ["pooler"]},
    {"target_modules": ["dense"], "modules_to_save": ["attention", "pooler"]},
    {"target_modules": ["c_attn", "c_proj"]},
    {"target_modules": ["q_proj", "o_proj"], "layers_to_transform": [1]},
]


@pytest.mark.parametrize("make", [tiny_bert, tiny_gpt2, tiny_llama])
@pytest.mark.parametrize("fields", SPECS)
def test_names_match_as_in_peft(make: Any, fields: dict[str, Any]) -> None:
    model = make()
    config = AdamssConfig(**fields)
    config.modules_to_save = [*(config.modules_to_save or []), "classifier", "score", "lm_head"]
    wanted = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
        and (found := check_target_module_exists(config, name))
        and not isinstance(found, _ExcludedModule)
    ]
    spec = AdamssSpec(**fields)
    if not wanted:
        with pytest.raises(SpecProblem, match="no linear layer"):
            match_targets(spec, facts_of(model))
    else:
        assert [module.name for module in match_targets(spec, facts_of(model))] == wanted


ESTIMATED: list[dict[str, Any]] = [
    {},
    {"target_modules": "all-linear"},
    {"target_modules": ["query", "dense"], "r": 500},
    {"num_subspaces": 1_000, "subspace_rank": 1, "r": 7},
    {"num_subspaces": 3, "subspace_rank": 2, "r": 1},
    {"num_subspaces": 2, "subspace_rank": 8, "r": 20, "layers_to_transform": [1], "target_modules": ["value"]},
]


@pytest.mark.parametrize("fields", ESTIMATED)
@pytest.mark.filterwarnings("ignore:num_subspaces", "ignore:r is 500")
def test_the_estimate_is_what_the_model_then_has(fields: dict[str, Any]) -> None:
    model = tiny_bert()
    facts = facts_of(model)
    spec = JobSpec.model_validate({"name": "x", "base_model": "tiny", "dataset": DATA, "adamss": fields})
    modules = match_targets(spec.adamss, facts)
    plan = make_plan(spec, 100, total_subspaces(modules, spec.adamss))
    found = estimate(plan, facts, modules, labels=2, train_rows=100, eval_rows=10)
    targets = fields.get("target_modules", ["query", "value"])
    config = AdamssConfig(**{**spec.adamss.config_fields(), "target_modules": targets}, task_type="SEQ_CLS")
    adapted = get_adamss_model(model, config)
    summary = adapted.base_model.asa_summary()
    assert (found.subspaces, found.modules) == (summary["total"], len(summary["modules"]))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert found.adapter_parameters == summary["trainable_parameters"]
    assert found.trainable_parameters == trained


@pytest.mark.parametrize("fields", [{"subspace_rank": 3, "num_subspaces": 30}, {"use_dynamic_rank": True}])
@pytest.mark.filterwarnings("ignore:use_dynamic_rank has no effect")
def test_the_estimate_is_never_too_small(fields: dict[str, Any]) -> None:
    model = tiny_bert()
    spec = JobSpec.model_validate({"name": "x", "base_model": "tiny", "dataset": DATA, "adamss": fields})
    modules = match_targets(spec.adamss, facts_of(model))
    plan = make_plan(spec, 100, total_subspaces(modules, spec.adamss))
    found = estimate(plan, facts_of(model), modules, labels=2, train_rows=100, eval_rows=10)
    config = AdamssConfig(**{**spec.adamss.config_fields(), "target_modules": ["query", "value"]}, task_type="SEQ_CLS")
    summary = get_adamss_model(model, config).base_model.asa_summary()
    assert summary["trainable_parameters"] <= found.adapter_parameters <= 1.5 * summary["trainable_parameters"]


@pytest.mark.parametrize(("init", "final", "interval"), [(0, 50, 10), (7, 50, 10), (5, 20, 100), (3, 4, 1), (0, 9, 2)])
def test_the_schedule_is_the_one_asa_follows(init: int, final: int, interval: int) -> None:
    from adamss_core.asa import mask_steps, scheduled_subspaces

    fields = {"use_asa": True, "init_warmup": init, "final_warmup": final, "mask_interval": interval}
    spec = AdamssSpec.model_validate({**fields, "asa_target_subspaces": 6})
    config = AdamssConfig(**spec.config_fields())
    wanted = [(step, scheduled_subspaces(step, 20, config)) for step in mask_steps(config)]
    assert [(item.step, item.wanted) for item in schedule(spec, 20)] == wanted


def test_an_endless_schedule_is_listed_in_part() -> None:
    spec = AdamssSpec(use_asa=True, init_warmup=0, final_warmup=10_000_000, mask_interval=1)
    listed = schedule(spec, 100)
    assert len(listed) < 2_000
    assert (listed[0].step, listed[-1].step, listed[-1].wanted) == (0, 10_000_000, 50)


def test_modules_to_save_must_be_there() -> None:
    facts = facts_of(tiny_bert())
    check_modules_to_save(AdamssSpec(modules_to_save=["classifier", "attention", "encoder.layer.0"]), facts)
    with pytest.raises(SpecProblem, match="closest"):
        check_modules_to_save(AdamssSpec(modules_to_save=["clasifier"]), facts)


@pytest.mark.parametrize(
    ("value", "text", "name"),
    [(None, "", ""), (" a ", "a", "a"), (1, "1", "1"), (1.0, "1.0", "1"), (True, "True", "true"), ("1", "1", "1")],
)
def test_how_cells_are_read(value: Any, text: str, name: str) -> None:
    assert (as_text(value), class_name(value)) == (text, name)
    assert (as_text(float("nan")), class_name(float("nan"))) == ("", "")
