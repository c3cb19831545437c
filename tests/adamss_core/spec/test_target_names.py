"""Names from before transformers 5, held against the models and the table of transformers itself."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import transformers
from peft import AdamssConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.pytorch_utils import Conv1D

from adamss_core import get_adamss_model
from adamss_core.errors import AdamssWarning, TargetError
from adamss_core.inspection import linear_modules
from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.target_names import FORMER_NAMES, count_ends, describe_renamed, find_renamed
from adamss_core.spec.targets import match_targets
from tests.adamss_core.spec.test_targets import facts_of

SMALL: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
UNCHANGED = {
    "bert": ["query", "key", "value", "dense"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "t5": ["q", "k", "v", "o", "wi", "wo"],
}
OTHER_SIZES: dict[str, dict[str, int]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
}


def body(model_type: str) -> PreTrainedModel:
    sizes = OTHER_SIZES.get(model_type, SMALL)
    made: PreTrainedModel = AutoModel.from_config(AutoConfig.for_model(model_type, **sizes))
    return made


def ends(model: nn.Module) -> set[str]:
    linear = (name for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D)))
    return {name.rpartition(".")[2] for name in linear}


@pytest.mark.parametrize("model_type", sorted(FORMER_NAMES))
def test_former_names_are_those_that_transformers_converts(model_type: str) -> None:
    model = body(model_type)
    renamings = [
        (source, target)
        for conversion in get_model_conversion_mapping(model)
        for source, target in zip(conversion.source_patterns, conversion.target_patterns, strict=False)
    ]
    for former, present in FORMER_NAMES[model_type].items():
        converted = {target.rpartition(".")[2] for source, target in renamings if source.endswith(former)}
        assert converted == set(present), former
        assert set(present) <= ends(model)
        assert former not in ends(model) or former == "dense"  # a pooler has kept it


@pytest.mark.parametrize("model_type", sorted(UNCHANGED))
def test_other_families_have_kept_their_names(model_type: str) -> None:
    assert set(UNCHANGED[model_type]) <= ends(body(model_type))
    assert model_type not in FORMER_NAMES


# --- PEFT's example ---------------------------------------------------------------------------------------------------


def vit() -> Any:
    sizes = SMALL | {"image_size": 16, "patch_size": 8}
    return transformers.ViTForImageClassification(transformers.ViTConfig(**sizes))


FIELDS: dict[str, Any] = {"r": 8, "num_subspaces": 2, "target_modules": ["query", "value"]}


def test_the_example_of_pefts_page_adapts_query_and_value() -> None:
    with pytest.raises(ValueError, match="not found"):
        get_peft_model(vit(), AdamssConfig(**FIELDS))
    with pytest.warns(AdamssWarning, match="'query' is now q_proj, 'value' is now v_proj"):
        model = get_adamss_model(vit(), AdamssConfig(**FIELDS))
    expected = [name for name, _ in vit().named_modules() if name.endswith(("q_proj", "v_proj"))]
    assert list(model.base_model.adapted_layers("default")) == expected
    config = model.peft_config["default"]
    assert config.target_modules == {"q_proj", "v_proj"}  # stock finds what the file says
    planned = match_targets(AdamssSpec(**FIELDS), facts_of(vit()))
    assert [module.name for module in planned] == expected


@pytest.mark.parametrize(
    "targets", [["q_proj"], "all-linear", r".*\.query", ["query", "fc1"], ["dense"], ["queries"], None]
)
def test_dry_run_and_core_say_the_same(targets: Any) -> None:
    fields = FIELDS | {"target_modules": targets}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdamssWarning)
        try:
            run = list(
                get_adamss_model(vit(), AdamssConfig(**fields, task_type="SEQ_CLS")).base_model.adapted_layers(
                    "default"
                )
            )
        except TargetError:
            run = []
    try:
        planned = [module.name for module in match_targets(AdamssSpec(**fields), facts_of(vit()))]
    except SpecProblem:
        planned = []
    assert planned == run


def test_names_that_match_are_left_alone() -> None:
    assert find_renamed(["query"], ["encoder.query", "encoder.q_proj"], "vit") == {}
    assert find_renamed(["query"], ["encoder.q_proj"], "llama") == {}
    assert find_renamed(["query"], ["encoder.qkv"], "vit") == {}
    assert find_renamed("query", ["encoder.q_proj"], "vit") == {}
    assert find_renamed(["dense"], ["a.o_proj", "a.fc1"], "vit") == {"dense": ("o_proj", "fc1")}
    assert "'dense' is now o_proj and fc1." in describe_renamed({"dense": ("o_proj", "fc1")}, "vit")


def test_an_error_names_the_linear_layers_with_their_numbers() -> None:
    layers = "q_proj (2), k_proj (2), v_proj (2), o_proj (2), fc1 (2), fc2 (2)"
    with pytest.raises(TargetError) as caught:
        get_adamss_model(vit(), AdamssConfig(**FIELDS | {"target_modules": ["c_attn"]}))
    assert f"It has: {layers}, classifier (1)." in caught.value.hint
    with pytest.raises(SpecProblem, match="matches no linear layer") as refused:
        match_targets(AdamssSpec(target_modules=["c_attn"]), facts_of(vit()))
    assert layers in str(refused.value)
    assert count_ends(f"a.layer{number}" for number in range(13)).endswith("layer11 (1), ….")
    assert count_ends([]) == "It has: no linear layer."


def test_names_come_from_the_inspection() -> None:
    assert {entry["name"].rpartition(".")[2] for entry in linear_modules(vit())} >= {"q_proj", "v_proj"}
