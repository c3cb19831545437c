"""Every field of peft.AdamssConfig has an effect. A field that PEFT adds later fails `test_every_field_is_tested`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import peft
import pytest
import torch
from peft import AdamssConfig, PeftModel, PeftModelForCausalLM, PeftModelForSequenceClassification
from torch import Tensor

from adamss_core import get_adamss_model, load_adapter, save_adapter
from adamss_core.errors import AdamssWarning
from adamss_core.layer import AdamssLayer
from tests.adamss_core.support import ASA, adapted_mlp, layers_of, mlp_config, outputs
from tests.models import Mlp, config, tiny_bert, tiny_gpt2, tiny_llama

TESTED: set[str] = set()


Test = TypeVar("Test", bound=Callable[..., None])


def shows(*fields: str) -> Callable[[Test], Test]:
    """Marks a test as the one that shows what these fields do."""
    TESTED.update(fields)
    return lambda test: test


def first_layer(model: PeftModel) -> AdamssLayer:
    return next(iter(layers_of(model).values()))


def names(**fields: Any) -> set[str]:
    """Which modules of a two-layer BERT are adapted, without the common prefix."""
    layers = layers_of(get_adamss_model(tiny_bert(), config(**fields)))
    return {name.removeprefix("bert.encoder.layer.") for name in layers}


# --- the decomposition ------------------------------------------------------------------------------------------------


@shows("r")
@pytest.mark.parametrize(("r", "rows"), [(1, 1), (5, 5), (64, 64), (1000, 64)])
@pytest.mark.filterwarnings("ignore:r is 1000")
def test_r_is_the_rank_of_the_basis(r: int, rows: int) -> None:
    layer = first_layer(get_adamss_model(tiny_bert(), config(r=r)))
    assert layer.adamss_newB["default"].shape == (rows, 65)  # [W | b] is (64, 65)
    assert layer.adamss_A["default"].shape[1] == rows


@shows("num_subspaces", "subspace_rank")
@pytest.mark.parametrize(("number", "rank"), [(1, 1), (4, 2), (6, 3)])
def test_number_and_rank_of_subspaces(number: int, rank: int) -> None:
    layer = first_layer(get_adamss_model(tiny_bert(), config(num_subspaces=number, subspace_rank=rank)))
    layout = layer.layouts["default"]
    assert layout.num_subspaces == number
    assert layout.ranks == tuple(min(rank, size) for size in layout.sizes)
    assert sum(layout.sizes) == 64


@shows("use_dynamic_rank", "svd_threshold")
def test_dynamic_rank_counts_the_singular_values_above_the_threshold() -> None:
    seen = set()
    for threshold in (0.0, 0.3, 0.5, 0.99):
        fields = {"use_dynamic_rank": True, "svd_threshold": threshold, "subspace_rank": 5}
        model = get_adamss_model(tiny_bert(), config(**fields))
        layer = first_layer(model)
        layout = layer.layouts["default"]
        u = torch.linalg.lstsq(layer.adamss_newB["default"].t(), layer.base_extended().t()).solution.t()
        u = u / u.norm(dim=0)  # U S V^T = [W | b]; the columns of U have length one
        for k in range(layout.num_subspaces):
            values = torch.linalg.svdvals(u[layout.rows == k] @ u[layout.rows == k].t())
            significant = int((values > threshold * values[0]).sum())
            # With threshold 0, rounding decides which values count; there are more than subspace_rank of them anyway.
            assert layout.ranks[k] == max(1, min(significant, 5, layout.sizes[k]))
        seen.add(layout.ranks)
    assert len(seen) >= 3
    with pytest.warns(AdamssWarning, match="svd_threshold has no effect"):
        fixed = get_adamss_model(tiny_bert(), config(subspace_rank=5, svd_threshold=0.99))
    assert set(first_layer(fixed).layouts["default"].ranks) == {5}  # the threshold alone does nothing


@shows("random_seed")
def test_random_seed_decides_the_randomized_svd() -> None:
    def basis(seed: int) -> Tensor:
        value: Tensor = first_layer(get_adamss_model(tiny_bert(), config(random_seed=seed))).adamss_newB["default"]
        return value

    assert torch.equal(basis(0), basis(0))
    assert not torch.equal(basis(0), basis(1))


@shows("init_weights")
def test_init_weights_starts_b_at_zero_or_at_noise() -> None:
    torch.manual_seed(0)
    zero = first_layer(get_adamss_model(tiny_bert(), config()))
    noise = first_layer(get_adamss_model(tiny_bert(), config(init_weights=None)))
    assert not zero.adamss_B["default"].any()
    assert 0.008 < float(noise.adamss_B["default"].detach().std()) < 0.012
    assert torch.equal(zero.adamss_A["default"], noise.adamss_A["default"])


# --- targets ----------------------------------------------------------------------------------------------------------

QUERIES = {f"{i}.attention.self.query" for i in (0, 1)}
VALUES = {f"{i}.attention.self.value" for i in (0, 1)}


@shows("target_modules")
def test_target_modules() -> None:
    assert names(target_modules=["query", "value"]) == QUERIES | VALUES
    assert names(target_modules=["self.value"]) == VALUES
    assert names(target_modules=["bert.encoder.layer.1.attention.self.query"]) == {"1.attention.self.query"}
    assert names(target_modules=r".*\.1\..*(query|value)") == {"1.attention.self.query", "1.attention.self.value"}
    assert names(target_modules=r".*query") == QUERIES
    everything = names(target_modules="all-linear")
    assert everything == names(target_modules="ALL-LINEAR")
    assert len(everything) == 2 * 6 + 1  # the pooler; the classifier is trained as a whole
    assert not any("classifier" in name for name in everything)


@shows("target_modules")
def test_all_linear_takes_conv1d_and_leaves_the_head() -> None:
    for make, number in ((tiny_gpt2, 2 * 4), (tiny_llama, 2 * 7)):
        model = get_adamss_model(make(), config(target_modules="all-linear", task_type="CAUSAL_LM"))
        assert len(layers_of(model)) == number
        assert "lm_head" not in layers_of(model)


@shows("layers_to_transform", "layers_pattern")
def test_layers_to_transform_and_their_pattern() -> None:
    assert names(layers_to_transform=1) == {"1.attention.self.query", "1.attention.self.value"}
    assert names(layers_to_transform=[0, 1]) == names() == names(layers_to_transform=[])
    assert names(layers_to_transform=[0], layers_pattern="layer", target_modules=["query"]) == {
        "0.attention.self.query"
    }
    assert names(layers_to_transform=0, layers_pattern=["blocks", "layer"], target_modules=["query"]) == {
        "0.attention.self.query"
    }


@shows("modules_to_save")
def test_modules_to_save_are_trained_and_travel(tmp_path: Path) -> None:
    fields = {"target_modules": ["first"], "modules_to_save": ["second"]}
    model = get_adamss_model(Mlp(), mlp_config(**fields))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert "base_model.model.second.modules_to_save.default.weight" in trained
    with torch.no_grad():
        model.get_parameter("base_model.model.second.modules_to_save.default.weight").add_(1.0)
    save_adapter(model, tmp_path)
    assert torch.equal(outputs(load_adapter(Mlp(), tmp_path)), outputs(model))
    assert not torch.equal(outputs(get_adamss_model(Mlp(), mlp_config(target_modules=["first"]))), outputs(model))


# --- ASA --------------------------------------------------------------------------------------------------------------


def drive(steps: int, *, seed: int = 1, **fields: Any) -> PeftModel:
    """An Mlp after ASA steps with random gradients."""
    model = adapted_mlp(**{**ASA, **fields})
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps + 1):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        model.base_model.update_and_allocate(step)
    return model


def actives(steps: int, **fields: Any) -> list[int]:
    """How many subspaces are active after each step."""
    pruned = [
        s["pruned_at"] for group in drive(steps, **fields).base_model.asa_summary()["modules"].values() for s in group
    ]
    return [sum(at is None or at > step for at in pruned) for step in range(steps + 1)]


@shows("use_asa", "asa_target_subspaces", "init_warmup", "final_warmup")
@pytest.mark.filterwarnings("ignore:.*while use_asa is false")
def test_asa_prunes_to_its_target_between_the_two_warmups() -> None:
    assert actives(6, use_asa=False) == [6] * 7
    ramp = {"asa_schedule_exponent": 1.0}
    assert actives(6, asa_target_subspaces=2, init_warmup=1, final_warmup=5, **ramp) == [6, 6, 5, 4, 3, 2, 2]
    assert actives(6, asa_target_subspaces=4, init_warmup=1, final_warmup=5, **ramp) == [6, 6, 5, 5, 4, 4, 4]
    assert actives(6, asa_target_subspaces=2, init_warmup=3, final_warmup=5, **ramp) == [6, 6, 6, 6, 4, 2, 2]
    assert actives(6, asa_target_subspaces=2, init_warmup=0, final_warmup=2, **ramp) == [6, 4, 2, 2, 2, 2, 2]


@shows("mask_interval")
@pytest.mark.filterwarnings("ignore:mask_interval is 100")
def test_mask_interval() -> None:
    ramp = {"asa_target_subspaces": 2, "init_warmup": 0, "final_warmup": 4, "asa_schedule_exponent": 1.0}
    assert actives(4, mask_interval=1, **ramp) == [6, 5, 4, 3, 2]
    assert actives(4, mask_interval=2, **ramp) == [6, 6, 4, 4, 2]
    assert actives(4, mask_interval=3, **ramp) == [6, 6, 6, 3, 2]
    assert actives(4, mask_interval=100, **ramp) == [6, 6, 6, 6, 2]


@shows("asa_schedule_exponent")
def test_schedule_exponent() -> None:
    ramp = {"asa_target_subspaces": 1, "init_warmup": 0, "final_warmup": 5, "mask_interval": 1}
    assert actives(5, asa_schedule_exponent=0.5, **ramp) == [6, 5, 4, 4, 3, 1]
    assert actives(5, asa_schedule_exponent=3.0, **ramp) == [6, 3, 2, 1, 1, 1]


@shows("asa_importance_beta", "asa_uncertainty_beta")
def test_betas_are_those_of_the_two_averages() -> None:
    fields = {"asa_importance_beta": 0.6, "asa_uncertainty_beta": 0.9, "init_warmup": 0, "final_warmup": 99}
    model = adapted_mlp(**{**ASA, **fields, "mask_interval": 99})
    layer = layers_of(model)["second"]
    a = layer.adamss_A["default"]
    gradients = [torch.randn(a.shape, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2, 3)]
    importance, uncertainty = torch.zeros_like(a), torch.zeros_like(a)
    for step, gradient in enumerate(gradients, start=1):
        a.grad = gradient
        model.base_model.update_and_allocate(step)
        now = (a.detach() * gradient).abs()
        uncertainty = 0.9 * uncertainty + 0.1 * (now - importance).abs()
        importance = 0.6 * importance + 0.4 * now
    state = model.base_model.asa_state_dict()["default"]["second"]
    assert torch.allclose(state["importance_a"], importance, rtol=1e-5, atol=1e-8)
    assert torch.allclose(state["uncertainty_a"], uncertainty, rtol=1e-5, atol=1e-8)


# --- PeftConfig's own -------------------------------------------------------------------------------------------------


@shows("task_type")
def test_task_type_decides_the_class_and_the_head() -> None:
    classifier = get_adamss_model(tiny_bert(), config(task_type="SEQ_CLS"))
    assert isinstance(classifier, PeftModelForSequenceClassification)
    assert classifier.get_submodule("base_model.model.classifier").modules_to_save["default"].weight.requires_grad
    assert isinstance(
        get_adamss_model(tiny_llama(), config(task_type="CAUSAL_LM", target_modules=["q_proj"])), PeftModelForCausalLM
    )
    plain = get_adamss_model(tiny_bert(), config(task_type=None))
    assert not isinstance(plain, PeftModelForSequenceClassification)
    assert not any("classifier" in name for name, p in plain.named_parameters() if p.requires_grad)


@shows("inference_mode")
def test_inference_mode_trains_nothing() -> None:
    assert get_adamss_model(Mlp(), mlp_config(inference_mode=True)).get_nb_trainable_parameters()[0] == 0
    assert get_adamss_model(Mlp(), mlp_config()).get_nb_trainable_parameters()[0] > 0


@shows("peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision")
def test_what_is_only_recorded_is_recorded(tmp_path: Path) -> None:
    base = Mlp()
    base.name_or_path = "somebody/some-model"  # type: ignore[assignment]
    save_adapter(get_adamss_model(base, mlp_config(revision="v2")), tmp_path)
    fields = json.loads((tmp_path / "adapter_config.json").read_text())
    assert fields["base_model_name_or_path"] == "somebody/some-model"
    assert fields["revision"] == "v2"
    assert fields["peft_type"] == "ADAMSS"
    assert fields["peft_version"] == peft.__version__
    # AutoPeftModel needs this where there is no task type.
    assert fields["auto_mapping"] == {"base_model_class": "Mlp", "parent_library": "tests.models"}
    loaded = load_adapter(Mlp(), tmp_path).peft_config["default"]
    assert (loaded.base_model_name_or_path, loaded.revision) == ("somebody/some-model", "v2")


def test_config_file_is_the_one_that_peft_writes(tmp_path: Path) -> None:
    for make, task in ((tiny_bert, "SEQ_CLS"), (tiny_bert, None)):
        model = get_adamss_model(make(), config(task_type=task, layers_to_transform=[0, 1], **ASA))
        save_adapter(model, tmp_path / f"{task}" / "ours")
        model.save_pretrained(str(tmp_path / f"{task}" / "peft"))
        ours, theirs = (
            json.loads((tmp_path / f"{task}" / name / "adapter_config.json").read_text()) for name in ("ours", "peft")
        )
        for fields in (ours, theirs):
            fields["target_modules"].sort()
        assert ours == theirs


def test_every_field_survives_saving_and_loading(tmp_path: Path) -> None:
    saved = mlp_config(
        **ASA, use_dynamic_rank=True, svd_threshold=0.2, random_seed=3, asa_importance_beta=0.7, subspace_rank=3
    )
    save_adapter(get_adamss_model(Mlp(), saved), tmp_path)
    loaded = load_adapter(Mlp(), tmp_path).peft_config["default"]
    for field in dataclasses.fields(AdamssConfig):
        if field.name != "auto_mapping":  # written by saving
            assert getattr(loaded, field.name) == getattr(saved, field.name), field.name


def test_every_field_is_tested() -> None:
    assert {field.name for field in dataclasses.fields(AdamssConfig)} == TESTED
