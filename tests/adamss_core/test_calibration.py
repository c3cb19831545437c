"""A basis from data: compared with exact decompositions, carried by every file, and understood by stock PEFT."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.adamss.layer import Linear as StockLinear
from torch import Tensor, nn

from adamss_core import Calibration, export_lora, get_adamss_model, load_adapter, merge_adapter, save_adapter
from adamss_core.basis_sketch import BasisSketch
from adamss_core.calibration import Basis
from adamss_core.errors import AdamssWarning, CalibrationError
from tests.adamss_core.support import ASA, give_effect, layers_of, mlp_config, outputs, prune_half
from tests.models import Mlp, batch, config, tiny_bert, tiny_gpt2, tiny_llama

BASES: list[Basis] = ["inputs", "gradient"]


def rows(count: int = 40, seed: int = 1) -> Tensor:
    """Inputs of `Mlp` that vary in some directions more than in others."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 32, generator=generator) * torch.linspace(2, 0.1, 32)


def calibrated(model: PeftModel, basis: Basis, inputs: Any = None) -> PeftModel:
    with Calibration(model, basis) as calibration:
        out = model(rows() if inputs is None else inputs) if inputs is None else model(**inputs).logits
        if basis == "gradient":
            out.square().sum().backward()
    assert calibration.apply() == []
    return model


def basis_of(model: PeftModel, name: str) -> Tensor:
    basis: Tensor = layers_of(model)[name].adamss_newB["default"]
    return basis


def assert_spans(basis: Tensor, exact: Tensor) -> None:
    """Compares two sets of orthonormal rows by the projections on them."""
    torch.testing.assert_close(basis @ basis.t(), torch.eye(len(basis)), rtol=0, atol=1e-5)
    torch.testing.assert_close(basis.t() @ basis, exact.t() @ exact, rtol=0, atol=1e-4)


def test_inputs_give_the_eigenvectors_of_their_second_moment() -> None:
    model = calibrated(get_adamss_model(Mlp(), mlp_config(r=6)), "inputs")
    x = torch.cat([rows(), torch.ones(40, 1)], dim=1)
    assert_spans(basis_of(model, "first"), torch.linalg.eigh(x.t() @ x)[1][:, -6:].t())
    hidden = torch.tanh(Mlp().first(rows())).detach()  # the second layer has no bias
    assert_spans(basis_of(model, "second"), torch.linalg.eigh(hidden.t() @ hidden)[1][:, -6:].t())


def test_gradients_give_the_right_singular_vectors_of_the_weights_gradient() -> None:
    plain = Mlp()
    plain(rows()).square().sum().backward()
    model = get_adamss_model(Mlp(), mlp_config(r=6))
    model = calibrated(model, "gradient")
    assert plain.first.weight.grad is not None
    assert plain.first.bias.grad is not None
    first = torch.cat([plain.first.weight.grad, plain.first.bias.grad[:, None]], dim=1)
    assert_spans(basis_of(model, "first"), torch.linalg.svd(first)[2][:6])
    assert_spans(basis_of(model, "second"), torch.linalg.svd(plain.second.weight.grad)[2][:6])


def test_padding_is_no_input() -> None:
    alone, padded = (get_adamss_model(tiny_bert(), config(r=8)) for _ in range(2))
    ids = batch()["input_ids"][:1]
    wider = torch.cat([ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    mask = (torch.arange(wider.shape[1]) < ids.shape[1]).long()[None]
    calibrated(alone, "inputs", {"input_ids": ids})
    calibrated(padded, "inputs", {"input_ids": wider, "attention_mask": mask})
    for name in layers_of(alone):
        assert_spans(basis_of(padded, name), basis_of(alone, name))


def test_a_wide_layer_is_sketched_and_keeps_most_of_what_it_could() -> None:
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.arange(1, 1201) ** -0.7
    x = torch.randn(4000, 1200, generator=generator) * spectrum
    sketch = BasisSketch(1200, 1200, 20, seed=0, device=torch.device("cpu"))
    assert sketch.value.shape[1] < 200
    for part in x.split(500):
        sketch.value += sketch.product(part, part)
    energy = (x @ sketch.basis().t()).square().sum()
    best = torch.linalg.eigvalsh(x.t() @ x)[-20:].sum()
    assert energy > 0.99 * best


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("subspaces", [1, 5, 32])
def test_stock_peft_gives_the_same_outputs(basis: Basis, subspaces: int, tmp_path: Path) -> None:
    model = give_effect(calibrated(get_adamss_model(Mlp(), mlp_config(num_subspaces=subspaces)), basis))
    save_adapter(model, tmp_path)
    stock = PeftModel.from_pretrained(Mlp(), tmp_path)
    assert type(stock.base_model.model.first) is StockLinear
    torch.testing.assert_close(outputs(stock), outputs(model), rtol=1e-5, atol=1e-5)
    assert (outputs(stock) - outputs(Mlp())).abs().mean() > 0.1


@pytest.mark.parametrize("basis", BASES)
def test_values_of_grouped_attention_take_fewer_directions_than_queries(basis: Basis) -> None:
    """Both see one input, but values have fewer outputs, to which r is cut for them."""
    targets = {"target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
    with pytest.warns(AdamssWarning, match="v_proj"):
        model = get_adamss_model(tiny_llama(), config(r=32, num_subspaces=1, **targets))
    calibrated(model, basis, {"input_ids": batch()["input_ids"]})
    assert {len(basis_of(model, name)) for name in layers_of(model)} == {32, 24}
    for name in layers_of(model):
        found = basis_of(model, name)
        torch.testing.assert_close(found @ found.t(), torch.eye(len(found)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("basis", BASES)
def test_rows_and_start_are_those_of_the_weight(basis: Basis) -> None:
    ours, peft = (get_adamss_model(tiny_bert(), config()) for _ in range(2))
    calibrated(ours, basis, batch())
    for name, layer in layers_of(ours).items():
        other = layers_of(peft)[name]
        assert torch.equal(layer.adamss_rows["default"], other.adamss_rows["default"])
        assert torch.equal(layer.adamss_A["default"], other.adamss_A["default"])
        assert not torch.allclose(layer.adamss_newB["default"], other.adamss_newB["default"], atol=0.1)
    assert torch.equal(outputs(ours), outputs(peft))  # B is zero


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")  # `second` has no bias
@pytest.mark.parametrize("basis", BASES)
def test_every_file_has_the_same_outputs(basis: Basis, tmp_path: Path) -> None:
    model = give_effect(calibrated(get_adamss_model(Mlp(), mlp_config(**ASA)), basis))
    prune_half(model)
    expected = outputs(model)
    save_adapter(model, tmp_path / "adapter")
    again = load_adapter(Mlp(), tmp_path / "adapter")
    assert torch.equal(outputs(again), expected)
    save_adapter(again, tmp_path / "again")
    for name in ("adapter_model.safetensors", "adamss_manifest.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "adapter" / name).read_bytes()
    export_lora(again, tmp_path / "lora")
    torch.testing.assert_close(outputs(PeftModel.from_pretrained(Mlp(), tmp_path / "lora")), expected)
    torch.testing.assert_close(outputs(merge_adapter(again)), expected)


@pytest.mark.parametrize("make", [tiny_gpt2, tiny_llama])
@pytest.mark.parametrize("basis", BASES)
def test_other_layers_and_precisions(basis: Basis, make: Any) -> None:
    base = make().to(torch.bfloat16)
    targets = ["c_attn"] if make is tiny_gpt2 else ["q_proj", "v_proj"]
    model = get_adamss_model(base, config(target_modules=targets, task_type="CAUSAL_LM"))
    calibrated(model, basis, {"input_ids": batch()["input_ids"]})
    for name in layers_of(model):
        assert basis_of(model, name).dtype == torch.float32
        assert_spans(basis_of(model, name), basis_of(model, name))


def test_nothing_else_changes() -> None:
    model = get_adamss_model(tiny_bert(), config())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    before = copy.deepcopy(model.state_dict())
    calibrated(model, "gradient", batch())
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == trained
    assert all(parameter.grad is None for parameter in model.parameters())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if ".adamss_newB." in name}
    for layer in layers_of(model).values():
        assert isinstance(layer, nn.Module)
        assert not layer._forward_hooks


def test_a_bias_that_is_left_alone_stays_so() -> None:
    model = get_adamss_model(Mlp(), mlp_config(r=32))
    layer = layers_of(model)["first"]
    layer.adamss_newB["default"][:, -1] = 0
    calibrated(model, "inputs")
    assert not layer.adamss_newB["default"][:, -1].any()
    assert layer.adamss_newB["default"].any(1).all()


@pytest.mark.parametrize("basis", BASES)
def test_a_layer_that_no_row_reaches_keeps_its_basis(basis: Basis) -> None:
    class Half(Mlp):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.first(x)
            return out

    model = get_adamss_model(Half(), mlp_config())
    before = basis_of(model, "second").clone()
    with Calibration(model, basis) as calibration:
        out = model(rows())
        if basis == "gradient":
            out.sum().backward()
    assert calibration.apply() == ["second"]
    assert torch.equal(basis_of(model, "second"), before)


@pytest.mark.parametrize("basis", BASES)
def test_without_rows_or_with_nan_nothing_changes(basis: Basis) -> None:
    model = get_adamss_model(Mlp(), mlp_config())
    before = basis_of(model, "first").clone()
    calibration = Calibration(model, basis)
    with pytest.raises(CalibrationError, match="No calibration row") as caught:
        calibration.apply()
    assert "row pass the model" in caught.value.hint
    with calibration:
        out = model(rows() * float("nan"))
        if basis == "gradient":
            out.sum().backward()
    with pytest.raises(CalibrationError, match="NaN or infinite") as caught:
        calibration.apply()
    assert caught.value.where == "first"
    assert torch.equal(basis_of(model, "first"), before)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"basis": "outputs"}, "basis"),
        ({"basis": "weights"}, "basis"),
        ({"row_share": 0}, "row_share"),
        ({"row_share": 1.5}, "row_share"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(arguments: dict[str, Any], where: str) -> None:
    with pytest.raises(CalibrationError) as caught:
        Calibration(get_adamss_model(Mlp(), mlp_config()), **arguments)
    assert caught.value.where == where
    assert caught.value.hint


# --- a share of the rows ----------------------------------------------------------------------------------------------


def limited(basis: Basis = "weights", share: float = 0.25, **fields: Any) -> PeftModel:
    model = get_adamss_model(Mlp(), mlp_config(**fields))
    with Calibration(model, basis, row_share=share) as calibration:
        (model(rows()) * torch.linspace(0, 1, 32)).square().sum().backward()
    calibration.apply()
    return model


def test_the_rows_with_the_largest_gradient_are_trained() -> None:
    plain = Mlp()
    (plain(rows()) * torch.linspace(0, 1, 32)).square().sum().backward()
    assert plain.second.weight.grad is not None
    largest = plain.second.weight.grad.square().sum(1).topk(8).indices
    model = limited(num_subspaces=1)
    trained = layers_of(model)["second"].layouts["default"].trained
    assert trained is not None
    assert set(torch.where(trained)[0].tolist()) == set(largest.tolist())
    assert model.get_nb_trainable_parameters()[0] == 2 * (2 * 12 + 2 * 8)  # A has 2 x 12, B 8 rows of 2
    assert torch.equal(outputs(model), outputs(Mlp()))


def test_each_subspace_keeps_a_row() -> None:
    for layer in layers_of(limited(share=0.01, num_subspaces=5)).values():
        layout = layer.layouts["default"]
        assert layout.trained is not None
        assert layout.rows[layout.trained].unique().tolist() == [0, 1, 2, 3, 4]


def test_only_trained_rows_change() -> None:
    model = limited("inputs")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        model(rows()).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for layer in layers_of(model).values():
        changed, trained = layer.get_delta_weight("default").ne(0).any(1), layer.layouts["default"].trained
        assert trained is not None
        assert torch.equal(changed, trained)


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed")  # `second` has no bias
@pytest.mark.parametrize("subspaces", [1, 5])
def test_files_have_zeros_for_the_other_rows(subspaces: int, tmp_path: Path) -> None:
    model = give_effect(limited("gradient", num_subspaces=subspaces, **ASA))
    prune_half(model) if subspaces > 1 else None
    expected = outputs(model)
    save_adapter(model, tmp_path / "adapter")
    stock = PeftModel.from_pretrained(Mlp(), tmp_path / "adapter")
    torch.testing.assert_close(outputs(stock), expected, rtol=1e-5, atol=1e-5)
    again = load_adapter(Mlp(), tmp_path / "adapter")
    assert torch.equal(outputs(again), expected)
    assert again.get_nb_trainable_parameters() == model.get_nb_trainable_parameters()
    save_adapter(again, tmp_path / "again")
    name = "adapter_model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "adapter" / name).read_bytes()
    export_lora(again, tmp_path / "lora")
    torch.testing.assert_close(outputs(PeftModel.from_pretrained(Mlp(), tmp_path / "lora")), expected)
    torch.testing.assert_close(outputs(merge_adapter(again)), expected)


def test_frozen_biases_and_removed_subspaces_beside_it(tmp_path: Path) -> None:
    model = get_adamss_model(Mlp(), mlp_config(num_subspaces=5, **ASA), bias="frozen", asa_pruned="removed")
    with Calibration(model, "gradient", row_share=0.5) as calibration:
        model(rows()).square().sum().backward()
    calibration.apply()
    give_effect(model)
    prune_half(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    layer = layers_of(model)["first"]
    assert layer.has_frozen_bias("default")
    assert 0 in layer.layouts["default"].ranks + layers_of(model)["second"].layouts["default"].ranks
    assert layer.layouts["default"].trained is not None
    save_adapter(model, tmp_path)
    again = load_adapter(Mlp(), tmp_path)
    torch.testing.assert_close(outputs(again), outputs(model))
    assert again.get_nb_trainable_parameters() == model.get_nb_trainable_parameters()
