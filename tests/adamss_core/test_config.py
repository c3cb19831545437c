"""Bad configs, targets and weights: a typed error that names the field or module, and an untouched base."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from adamss_core import errors, get_adamss_model
from adamss_core.config import DEFAULT_ADAPTER
from adamss_core.errors import AdamssError, AdamssWarning, ConfigError, TargetError, WeightError
from tests.adamss_core.support import adapted_mlp, assert_untouched, layers_of, mlp_config, outputs, state_of
from tests.models import Mlp, config, tiny_bert, tiny_llama

ASA = {"use_asa": True}
NAN, INF = float("nan"), float("inf")

# Set after construction, because PEFT's own constructor refuses a few of these with a ValueError of its own.
BAD: list[tuple[str, Any, dict[str, Any]]] = [
    *(("r", value, {}) for value in (0, -1, 2.5, "8", None, True)),
    *(("num_subspaces", value, {}) for value in (0, -3, 1.0, None)),
    *(("subspace_rank", value, {}) for value in (0, -1, 0.5, None)),
    *(("random_seed", value, {}) for value in (-1, 0.5, None, "0")),
    *(("svd_threshold", value, {}) for value in (-0.1, NAN, INF, None, "0.1")),
    *(("asa_importance_beta", value, {}) for value in (-0.1, 1.1, NAN, None, True)),
    *(("asa_uncertainty_beta", value, {}) for value in (-0.1, 1.5, NAN, None)),
    *(("init_weights", value, {}) for value in ("zeros", 3)),
    *(("use_asa", value, {}) for value in (1, "yes", None)),
    *(("use_dynamic_rank", value, {}) for value in (1, "yes", None)),
    *(("inference_mode", value, {}) for value in (1, None)),
    *(("asa_target_subspaces", value, ASA) for value in (0, -1, 1.5, None)),
    *(("init_warmup", value, ASA) for value in (-1, 0.5, None)),
    *(("final_warmup", value, ASA) for value in (0, -1, 50, 20, 99.5, None)),  # init_warmup is 50
    *(("mask_interval", value, ASA) for value in (0, -1, 0.5, None)),
    *(("asa_schedule_exponent", value, ASA) for value in (0, -1, NAN, INF, None, "3")),
    ("target_modules", set(), {}),
    *(("target_modules", value, {}) for value in ([], "", "(", [""], [3])),
    *(("modules_to_save", value, {}) for value in ("first", [3], [""])),
    ("layers_pattern", "(", {"layers_to_transform": [0]}),
    *(("layers_to_transform", value, {}) for value in (-1, [0, -1], ["0"], 1.5, True, [True])),
]


@pytest.mark.parametrize(("field", "value", "others"), BAD, ids=str)
def test_bad_value_is_refused_by_its_field(field: str, value: Any, others: dict[str, Any]) -> None:
    base = Mlp()
    before = state_of(base)
    bad = mlp_config(**others)
    setattr(bad, field, value)
    with pytest.raises(ConfigError) as caught:
        get_adamss_model(base, bad)
    assert caught.value.where == field
    assert f"{field}=" in caught.value.message
    assert len(caught.value.hint) > 10
    assert_untouched(base, before)


@pytest.mark.parametrize(
    "fields",
    [
        {"asa_target_subspaces": 0, "mask_interval": 0, "asa_schedule_exponent": -1},  # not looked at without ASA
        {"svd_threshold": 0.0, "asa_importance_beta": 0, "asa_uncertainty_beta": 0.999},
        {"r": 1, "num_subspaces": 1, "subspace_rank": 1},
        {"r": 10**6},
        {"target_modules": {"first"}},
        {"target_modules": "fir.*"},
        {"modules_to_save": []},
        {"init_weights": False},
        {"layers_pattern": "layer"},
        {"svd_threshold": 7.0},
        {"svd_threshold": 1.0, "use_dynamic_rank": True, "subspace_rank": 3},
        {"use_asa": True, "init_warmup": 0, "final_warmup": 1, "asa_target_subspaces": 10**6},
    ],
)
@pytest.mark.filterwarnings("ignore::adamss_core.errors.AdamssWarning")
def test_values_at_the_edge_are_accepted(fields: dict[str, Any]) -> None:
    model = get_adamss_model(Mlp(), mlp_config(**fields))
    assert torch.isfinite(outputs(model)).all()


def test_not_an_adamss_config() -> None:
    with pytest.raises(ConfigError, match="LoraConfig"):
        get_adamss_model(Mlp(), LoraConfig(target_modules=["first"]))


def test_a_peft_model_is_not_a_base() -> None:
    for wrapped in (adapted_mlp(), get_peft_model(Mlp(), LoraConfig(target_modules=["first"]))):
        with pytest.raises(ConfigError, match="add_adapter") as caught:
            get_adamss_model(wrapped, mlp_config())
        assert caught.value.where == "base_model"


def test_no_targets_and_no_default_for_the_model() -> None:
    base = Mlp()
    before = state_of(base)
    with pytest.raises(ConfigError, match="all-linear") as caught:
        get_adamss_model(base, mlp_config(target_modules=None))
    assert caught.value.where == "target_modules"
    assert_untouched(base, before)


@pytest.mark.parametrize("name", ["", "a.b", "0", "12", "first", "score", "weight", "base_layer"])
def test_adapter_names_that_would_mix_up_tensors(name: str) -> None:
    base = Mlp()
    before = state_of(base)
    with pytest.raises(ConfigError) as caught:
        get_adamss_model(base, mlp_config(), name)
    assert caught.value.where == "adapter_name"
    assert_untouched(base, before)


# --- targets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "closest"),
    [(["qeury"], "query"), (["q_proj", "vlaue"], "value"), (["intermediate.dence"], "dense"), ("quer", "query")],
)
def test_targets_that_match_nothing_name_the_closest(targets: Any, closest: str) -> None:
    base = tiny_bert()
    before = state_of(base)
    with pytest.raises(TargetError, match="matches no module") as caught:
        get_adamss_model(base, config(target_modules=targets))
    assert closest in caught.value.hint
    for name in [targets] if isinstance(targets, str) else targets:
        assert name in str(caught.value.where)
    assert_untouched(base, before)


def test_a_target_like_nothing_lists_what_there_is() -> None:
    with pytest.raises(TargetError, match=r"first \(1\), second \(1\)"):
        get_adamss_model(Mlp(), mlp_config(target_modules=["zzz"]))
    with pytest.raises(TargetError, match="It has: no linear layer"):
        get_adamss_model(nn.Sequential(nn.ReLU()), mlp_config(target_modules=["zzz"]))


def test_one_idle_target_among_others_is_a_warning() -> None:
    with pytest.warns(AdamssWarning, match=r"secnd.*\n?.*second"):
        model = get_adamss_model(Mlp(), mlp_config(target_modules=["first", "secnd"]))
    assert list(layers_of(model)) == ["first"]


def test_layers_that_do_not_exist() -> None:
    base = tiny_bert()
    before = state_of(base)
    for fields in ({"layers_to_transform": [7]}, {"layers_to_transform": 0, "layers_pattern": "blocks"}):
        with pytest.raises(ConfigError, match="leaves none of the target modules") as caught:
            get_adamss_model(base, config(**fields))
        assert caught.value.where == "layers_to_transform"
    assert_untouched(base, before)


@pytest.mark.parametrize(
    ("target", "module", "kind"),
    [
        ("word_embeddings", "bert.embeddings.word_embeddings", "Embedding"),
        ("LayerNorm", "bert.embeddings.LayerNorm", "LayerNorm"),
        (r"bert\.encoder\.layer\.0", "bert.encoder.layer.0", "BertLayer"),
    ],
)
def test_unsupported_module_types_are_named(target: str, module: str, kind: str) -> None:
    base = tiny_bert()
    before = state_of(base)
    targets: Any = target if "\\" in target else [target, "query"]
    with pytest.raises(TargetError, match=f"'{module}', which is a {kind}") as caught:
        get_adamss_model(base, config(target_modules=targets))
    assert caught.value.where == module
    assert "nn.Linear" in caught.value.hint
    assert_untouched(base, before)


def test_convolution_is_named() -> None:
    base = nn.Sequential(nn.Conv1d(3, 4, 2), nn.Linear(3, 4))
    with pytest.raises(TargetError, match="'0', which is a Conv1d"):
        get_adamss_model(base, mlp_config(target_modules=["0", "1"]))
    assert [type(module) for module in base] == [nn.Conv1d, nn.Linear]


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_not_finite_weights(value: float, part: str) -> None:
    base = Mlp()
    with torch.no_grad():
        base.first.get_parameter(part).view(-1)[3] = value
    types = state_of(base)["modules"]
    with pytest.raises(WeightError, match="'first' holds NaN or infinite") as caught:
        get_adamss_model(base, mlp_config())
    assert caught.value.where == "first"
    assert state_of(base)["modules"] == types


def test_all_zero_weight_in_the_second_target() -> None:
    """The first one was decomposed by then; nothing of it is left in the base."""
    base = Mlp()
    nn.init.zeros_(base.second.weight)
    before = state_of(base)
    with pytest.raises(WeightError, match="'second' is all zero") as caught:
        get_adamss_model(base, mlp_config())
    assert caught.value.where == "second"
    assert_untouched(base, before)


def test_the_base_can_be_used_after_a_failure() -> None:
    base = Mlp()
    with pytest.raises(TargetError):
        get_adamss_model(base, mlp_config(target_modules=["zzz"]))
    model = get_adamss_model(base, mlp_config())
    assert torch.allclose(outputs(model), outputs(Mlp()), atol=1e-6)


def test_failure_after_injection_takes_everything_out_again() -> None:
    """PEFT itself can fail when all adapters are in, at modules_to_save."""

    class Uncopyable(nn.Linear):
        def __deepcopy__(self, memo: object) -> nn.Module:
            raise MemoryError("no room for a copy")

    base = Mlp()
    base.second = Uncopyable(32, 32)
    before = state_of(base)
    with pytest.raises(MemoryError):
        get_adamss_model(base, mlp_config(target_modules=["first"], modules_to_save=["second"]))
    assert_untouched(base, before)


def test_a_failing_second_adapter_leaves_the_first() -> None:
    model = adapted_mlp()
    expected = outputs(model)
    for bad, kind in ((mlp_config(r=0), ConfigError), (mlp_config(target_modules=["zzz"]), TargetError)):
        with pytest.raises(kind):
            model.add_adapter("other", bad)
        assert list(model.peft_config) == ["default"]
        assert all(list(layer.layouts) == ["default"] for layer in layers_of(model).values())
    assert torch.equal(outputs(model), expected)


# --- more subspaces than rows -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:r is 40")
def test_more_subspaces_than_rows_is_clamped_with_a_warning() -> None:
    base = Mlp(width=6)
    x = torch.randn(3, 6)
    expected = base(x)
    with pytest.warns(AdamssWarning, match="more than the 6 rows of '(first|second)'"):
        model = get_adamss_model(base, mlp_config(num_subspaces=40, r=40, subspace_rank=5))
    for layer in layers_of(model).values():
        layout = layer.layouts["default"]
        assert layout.num_subspaces == 6
        assert layout.sizes == layout.ranks == (1,) * 6  # r_k = min(|I_k|, subspace_rank)
        assert layer.adamss_newB["default"].shape[0] == 6
    assert torch.allclose(model(x), expected, atol=1e-6)


# --- errors themselves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, AdamssError)]
)
def test_errors_survive_pickling(kind: type[AdamssError]) -> None:
    error = kind("It went wrong.", hint="Do better.", where="field")
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is kind
        assert (again.message, again.hint, again.where) == ("It went wrong.", "Do better.", "field")
        assert str(again) == "It went wrong. Do better."
        assert again.code == kind.code


def test_codes_are_distinct() -> None:
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, AdamssError)]
    assert len({kind.code for kind in kinds}) == len(kinds) >= 11


def test_default_targets_of_a_known_architecture() -> None:
    model = get_adamss_model(tiny_llama(), config(target_modules=None, task_type="CAUSAL_LM"))
    assert {name.rpartition(".")[2] for name in layers_of(model)} == {"q_proj", "v_proj"}


def test_default_adapter_name_is_peft_s() -> None:
    assert inspect.signature(get_peft_model).parameters["adapter_name"].default == DEFAULT_ADAPTER
