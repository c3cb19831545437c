"""Dry run, core and stock PEFT agree on which modules are adapted, whatever the model and the form of the targets."""

from __future__ import annotations

import copy
import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import AdamssConfig, get_peft_model
from peft.tuners.adamss import layer as stock
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from torch import nn

from adamss_core import get_adamss_model, load_adapter, save_adapter
from adamss_core.errors import AdamssError, AdamssWarning, ConfigError, TargetError
from adamss_core.inspection import linear_modules
from adamss_core.model_parts import output_layer
from adamss_core.spec import AdamssSpec, ModelFacts, SpecProblem, match_targets
from adamss_core.spec.target_rule import TargetRule
from tests.adamss_core.support import layers_of
from tests.marks import compat
from tests.models import tiny_bert, tiny_gpt2, tiny_llama

LEAVES = ("q", "value", "dense", "out_proj", "norm", "head", "score")
BLOCKS = ("layers", "layer", "block", "h")
SMALL = {"r": 2, "num_subspaces": 1}
REFUSED = "refused"


class Named(nn.Module):
    """Linear layers, norms and containers under random names; never run."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="bert", to_dict=lambda: {"model_type": "bert"})
        choice = random.Random(seed)
        self.body = nn.Module()
        stack = nn.ModuleList(_layer(choice) for _ in range(choice.randint(1, 4)))
        self.body.add_module(choice.choice(BLOCKS), stack)
        if choice.random() < 0.5:
            self.add_module(choice.choice(LEAVES), nn.Linear(3, 2))


def _layer(choice: random.Random) -> nn.Module:
    layer = nn.Module()
    for part in choice.sample(("attn", "mlp", "query"), choice.randint(1, 3)):
        if part == "query":
            layer.add_module(part, nn.Linear(3, 4))
            continue
        layer.add_module(part, inner := nn.Module())
        for leaf in choice.sample(LEAVES, choice.randint(1, 5)):
            inner.add_module(leaf, nn.LayerNorm(3) if leaf == "norm" else nn.Linear(4, 3))
        if choice.random() < 0.2:  # experts: the first number is the layer's
            inner.add_module("experts", nn.ModuleList(nn.Linear(3, 3) for _ in range(2)))
    return layer


def random_fields(choice: random.Random, names: list[str]) -> dict[str, Any]:
    """Fields of a config in every form that PEFT knows; some of them match nothing."""
    part = choice.choice(LEAVES)
    targets = choice.choice(
        [
            "all-linear",
            "All-Linear",
            None,
            choice.sample([*LEAVES, "query", "attn.q"], choice.randint(1, 4)),
            choice.sample(names, min(len(names), choice.randint(1, 25))),
            rf".*\.{part}",
            rf"^(?!.*mlp).*{part}$",
            rf"(?i).*\.({part.upper()}|QUERY)",
            r".*\.\d+\..*(q|value|dense)",
            ".*",
        ]
    )
    fields: dict[str, Any] = {"target_modules": targets}
    if choice.random() < 0.4:
        fields["layers_to_transform"] = choice.choice([0, 1, [0], [1, 9], [0, 1, 2], []])
        if choice.random() < 0.5:
            fields["layers_pattern"] = choice.choice(["layer", "layers", ["h", "block"], ["layers?"], "lay.*"])
    if choice.random() < 0.4:
        fields["modules_to_save"] = choice.choice([["head"], ["mlp"], ["attn.q"], [part], ["h.ad"]])
    return fields


@pytest.fixture
def _names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stock PEFT decides about modules, and puts layers in; clustering thousands of them would take a minute."""

    def place(layer: Any, adapter_name: str, *_: Any, **__: Any) -> None:
        layer.adamss_A[adapter_name] = nn.ParameterList([nn.Parameter(torch.zeros(1))])

    monkeypatch.setattr(stock.AdamssLayer, "update_layer", place)


def stock_targets(model: nn.Module, fields: dict[str, Any]) -> list[str] | str:
    try:
        adapted = get_peft_model(copy.deepcopy(model), AdamssConfig(**SMALL, **fields))
    except (ValueError, TypeError):
        return REFUSED
    base = adapted.get_base_model()
    return [name for name, module in base.named_modules() if isinstance(module, stock.AdamssLayer)]


def core_targets(model: nn.Module, fields: dict[str, Any]) -> list[str] | str:
    try:
        return list(layers_of(get_adamss_model(copy.deepcopy(model), AdamssConfig(**SMALL, **fields))))
    except AdamssError:
        return REFUSED


def planned_targets(model: nn.Module, fields: dict[str, Any], task_type: str | None) -> list[str] | str:
    spec = AdamssSpec(**{name: value for name, value in fields.items() if name != "task_type"})
    facts = ModelFacts.model_validate(
        {
            "model_type": "bert",
            "parameters": 1,
            "linear_modules": linear_modules(model),
            "output_layer": output_layer(model, task_type),
            "modules": {name: type(module).__name__ for name, module in model.named_modules() if name},
            "default_targets": ["query", "value"],
        }
    )
    try:
        return [module.name for module in match_targets(spec, facts, task_type)]
    except SpecProblem:
        return REFUSED


@pytest.mark.usefixtures("_names_only")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cases", [30, compat(500)])
def test_dry_run_core_and_stock_agree_on_random_models_and_targets(cases: int) -> None:
    chosen = 0
    for seed in range(cases):
        model, choice = Named(seed), random.Random(seed)
        fields = random_fields(choice, [entry["name"] for entry in linear_modules(model)])
        wanted = stock_targets(model, fields)
        found = {"core": core_targets(model, fields), "dry run": planned_targets(model, fields, None)}
        assert found == {"core": wanted, "dry run": wanted}, (seed, fields)
        chosen += wanted != REFUSED
    assert cases // 3 < chosen < cases  # of both kinds


MODELS: list[tuple[Any, str]] = [(tiny_bert, "SEQ_CLS"), (tiny_gpt2, "CAUSAL_LM"), (tiny_llama, "CAUSAL_LM")]
FORMS: list[dict[str, Any]] = [
    {"target_modules": "all-linear"},
    {"target_modules": "all-linear", "layers_to_transform": [0]},
    {"target_modules": ["lm_head"]},
    {"target_modules": ["q_proj", "query", "lm_head"]},
    {"target_modules": ["dense", "pooler"], "modules_to_save": ["pooler"]},
    {"target_modules": ".*"},
    {"target_modules": r".*\.[01]\..*(query|v_proj)"},
]


@pytest.mark.usefixtures("_names_only")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("fields", FORMS, ids=str)
@pytest.mark.parametrize(("make", "task_type"), MODELS)
def test_dry_run_core_and_stock_agree_on_models_of_transformers(make: Any, task_type: str, fields: Any) -> None:
    """Output embeddings are named or not; a head is saved. Conv1D is adapted by the core only."""
    model, fields = make(), fields | {"task_type": task_type}
    wanted, core = stock_targets(model, fields), core_targets(model, fields)
    assert planned_targets(model, fields, task_type) == core
    assert core == wanted or (make is tiny_gpt2 and wanted == REFUSED)


@pytest.mark.usefixtures("_names_only")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layers", [1, [1], (1,), range(1, 2), {1}])
def test_layers_of_all_linear_are_six_linears_as_in_stock(layers: Any, tmp_path: Any) -> None:
    """With twenty linear layers or more, as models have; PEFT ignores the layers of smaller ones."""
    fields = {"target_modules": "all-linear", "layers_to_transform": layers, "task_type": "SEQ_CLS"}
    model = tiny_bert(layers=4, hidden=16)
    targets = core_targets(model, fields)
    assert targets == stock_targets(model, fields)
    assert len(targets) == 6
    assert all(".layer.1." in name for name in targets)
    adapted = get_adamss_model(model, AdamssConfig(**SMALL, **fields))
    save_adapter(adapted, tmp_path)  # a range is no JSON
    assert list(layers_of(load_adapter(tiny_bert(layers=4, hidden=16), tmp_path))) == targets


def test_a_field_of_a_later_peft_is_honoured() -> None:
    """`exclude_modules`, which AdamssConfig of 0.21 lacks, as its matching function reads it."""
    names = [name for name, _ in tiny_bert().named_modules() if name]
    for excluded in (["query"], ["self.value", "pooler"], r".*\.0\..*"):
        config = AdamssConfig(target_modules=["query", "value", "dense"])
        config.exclude_modules = excluded
        for name in names:
            wanted = check_target_module_exists(config, name)
            assert TargetRule.of(config).matches(name) == bool(wanted)
            assert TargetRule.of(config).leaves_out(name) == isinstance(wanted, _ExcludedModule)


def warned(fields: dict[str, Any], model: nn.Module | None = None) -> list[str]:
    with pytest.warns(AdamssWarning) as caught:
        get_adamss_model(model or tiny_bert(), AdamssConfig(**{"r": 20, "target_modules": ["query"], **fields}))
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"svd_threshold": 0.3}, "svd_threshold has no effect while use_dynamic_rank is false"),
        ({"use_dynamic_rank": True}, "use_dynamic_rank has no effect with subspace_rank 1"),
        ({"mask_interval": 7, "asa_importance_beta": 0.5}, "mask_interval, asa_importance_beta have no effect"),
        ({"r": 500}, "r is 500, but 2 of 2 modules have fewer rows or columns"),
        ({"r": 500}, "their rank is 64. Use at most 64"),
        ({"layers_to_transform": [1, 99]}, "indices of layers that are not there: 99. The modules of target_modules"),
        ({"layers_to_transform": [0], "target_modules": ".*query"}, "no effect on a regular expression"),
        ({"layers_to_transform": [0], "target_modules": "all-linear"}, "fewer than 20, as in PEFT"),
        ({"target_modules": ["query", "valeu"]}, "names that no module has: valeu. The closest are: value"),
        (
            {"target_modules": ["query", "pooler"], "modules_to_save": ["pooler"]},
            "no effect for pooler: what is",
        ),
        (
            {"use_asa": True, "asa_target_subspaces": 2, "init_warmup": 5, "final_warmup": 50, "mask_interval": 60},
            "the ramp has 45 steps: subspaces are pruned after step 50 only. Use at most 22",
        ),
    ],
)
def test_the_core_says_what_has_no_effect(fields: dict[str, Any], says: str) -> None:
    assert any(says in message for message in warned(fields))


@pytest.mark.filterwarnings("error::adamss_core.errors.AdamssWarning")
@pytest.mark.parametrize(
    "fields",
    [
        {"r": 3},
        {"r": 64},  # the width of the modules
        {"svd_threshold": 0.3, "use_dynamic_rank": True, "subspace_rank": 3},
        {"use_dynamic_rank": True, "subspace_rank": 2},
        {"init_weights": None},
        {"random_seed": 3},
        {"layers_to_transform": [1]},
        {"layers_to_transform": [0, 1]},
        {"layers_to_transform": 1, "layers_pattern": "layer"},
        {"layers_to_transform": [1], "layers_pattern": ["layer", "layers"]},
        {"modules_to_save": ["pooler"]},
        {"target_modules": ["query", "value", "pooler.dense"]},
        {"target_modules": ["bert.encoder.layer.1.attention.self.query"]},
        {"target_modules": "all-linear", "num_subspaces": 2, "r": 2},
        {"target_modules": r".*\.1\..*query"},
        {"target_modules": ["query"], "task_type": "SEQ_CLS"},
        {
            "use_asa": True,
            "asa_target_subspaces": 2,
            "init_warmup": 5,
            "final_warmup": 50,
            "mask_interval": 10,
            "asa_importance_beta": 0.5,
            "asa_uncertainty_beta": 0.0,
            "asa_schedule_exponent": 1.0,
        },
    ],
    ids=str,
)
def test_settings_with_an_effect_are_not_mentioned(fields: dict[str, Any]) -> None:
    get_adamss_model(tiny_bert(), AdamssConfig(**{"r": 20, "target_modules": ["query"], **fields}))


def test_targets_that_are_all_trained_in_full_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"only modules that modules_to_save=.* trains in full"):
        get_adamss_model(tiny_bert(), AdamssConfig(target_modules=["pooler.dense"], modules_to_save=["pooler"]))


def test_a_part_that_is_no_regular_expression_is_refused_by_its_field() -> None:
    """Compiled as a part of a longer one: PEFT raises `re.error` in the middle of its injection."""
    with pytest.raises(ConfigError) as caught:
        get_adamss_model(tiny_bert(), AdamssConfig(target_modules=["query"], modules_to_save=["pool(er"]))
    assert caught.value.where == "modules_to_save"


def test_many_unknown_names_are_answered_by_the_first_few() -> None:
    names = [f"modul_{number}_qurey" for number in range(2_000)]
    with pytest.raises(TargetError) as caught:
        get_adamss_model(tiny_bert(), AdamssConfig(target_modules=names))
    assert len(caught.value.hint) < 300
