"""PEFT's usual calls do what PEFT's users expect."""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, PeftModel, get_peft_model, get_peft_model_state_dict
from torch import Tensor, nn

from adamss_core import get_adamss_model, load_adapter, save_adapter
from adamss_core.delta import AdaptedLinear, projects
from tests.adamss_core.support import (
    ASA,
    adapted_mlp,
    give_effect,
    layers_of,
    mlp_config,
    mlp_input,
    outputs,
    prune_half,
)
from tests.models import Mlp, batch, config, tiny_bert, tiny_llama


def two_adapters() -> PeftModel:
    model = adapted_mlp("one", seed=1)
    model.add_adapter("two", mlp_config(num_subspaces=5, subspace_rank=1, r=7))
    return give_effect(model, "two", seed=2)


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def gradients(model: nn.Module, x: Tensor | None = None) -> dict[str, Tensor]:
    model.zero_grad()
    model(mlp_input() if x is None else x).square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# --- several adapters -------------------------------------------------------------------------------------------------


def test_set_adapter_switches_outputs_and_training() -> None:
    model = two_adapters()
    assert torch.equal(outputs(model), outputs(adapted_mlp("one", seed=1)))
    assert trainable(model) == {f"base_model.model.{m}.adamss_{p}.one" for m in ("first", "second") for p in "AB"}
    model.set_adapter("two")
    assert model.active_adapters == ["two"]
    assert trainable(model) == {f"base_model.model.{m}.adamss_{p}.two" for m in ("first", "second") for p in "AB"}
    alone = give_effect(
        get_adamss_model(Mlp(), mlp_config(num_subspaces=5, subspace_rank=1, r=7), "two"), "two", seed=2
    )
    assert torch.allclose(outputs(model), outputs(alone), atol=1e-6)


def test_two_active_at_once_add_up() -> None:
    model = two_adapters()
    deltas = {
        name: sum(layer.get_delta_weight(adapter) for adapter in ("one", "two"))
        for name, layer in layers_of(model, "one").items()
    }
    biases = [layers_of(model, "one")["first"].get_delta_bias(adapter) for adapter in ("one", "two")]
    bias = torch.stack([value for value in biases if value is not None]).sum(0)
    model.base_model.set_adapter(["one", "two"])
    assert model.active_adapters == ["one", "two"]
    both = Mlp()
    with torch.no_grad():
        for name, delta in deltas.items():
            both.get_parameter(f"{name}.weight").add_(delta)
        both.get_parameter("first.bias").add_(bias)
    assert torch.allclose(outputs(model), outputs(both), atol=1e-5)
    assert set(gradients(model)) == trainable(model)
    assert len(trainable(model)) == 8


def test_adapters_on_different_modules() -> None:
    model = adapted_mlp("one", seed=1, target_modules=["first"])
    model.add_adapter("two", mlp_config(target_modules=["second"]))
    give_effect(model, "two", seed=2)
    assert list(layers_of(model, "one")) == ["first"]
    assert list(layers_of(model, "two")) == ["second"]
    assert torch.equal(outputs(model), outputs(adapted_mlp("one", seed=1, target_modules=["first"])))
    model.set_adapter("two")
    alone = give_effect(get_adamss_model(Mlp(), mlp_config(target_modules=["second"]), "two"), "two", seed=2)
    assert torch.allclose(outputs(model), outputs(alone), atol=1e-6)


def test_delete_adapter() -> None:
    model = two_adapters()
    expected = outputs(model)
    model.delete_adapter("two")
    assert list(model.peft_config) == ["one"]
    assert not any("two" in key for key in model.state_dict())
    assert torch.equal(outputs(model), expected)
    assert layers_of(model, "two") == {}
    model.add_adapter("two", mlp_config())  # the name is free again
    assert list(layers_of(model, "two")) == ["first", "second"]


def test_adapter_added_after_loading_starts_afresh(tmp_path: Path) -> None:
    save_adapter(adapted_mlp(seed=1, r=5, num_subspaces=2), tmp_path)
    model = load_adapter(Mlp(), tmp_path)
    model.add_adapter("other", mlp_config())
    fresh = get_adamss_model(Mlp(), mlp_config())
    for name, layer in layers_of(model, "other").items():
        for held in ("adamss_A", "adamss_B", "adamss_newB"):
            assert torch.equal(getattr(layer, held)["other"], getattr(layers_of(fresh)[name], held)["default"])


def test_disable_adapter() -> None:
    model = adapted_mlp()
    expected = outputs(model)
    with model.disable_adapter():
        assert torch.equal(outputs(model), outputs(Mlp()))
    assert torch.equal(outputs(model), expected)
    model.merge_adapter()
    with model.disable_adapter():  # as LoRA does: unmerged first
        assert torch.allclose(outputs(model), outputs(Mlp()), atol=1e-5)


def test_adamss_beside_stock_peft_in_one_process() -> None:
    ours = adapted_mlp()
    stock = get_peft_model(Mlp(), mlp_config())
    assert type(stock.base_model).__module__.startswith("peft.")
    assert type(ours.base_model).__module__.startswith("adamss_core.")


# --- merging ----------------------------------------------------------------------------------------------------------


def test_merge_and_unmerge() -> None:
    model = adapted_mlp()
    expected, before = outputs(model), {k: v.clone() for k, v in model.state_dict().items()}
    model.merge_adapter(safe_merge=True)
    assert layers_of(model)["first"].merged
    assert torch.allclose(outputs(model), expected, atol=1e-5)
    assert not torch.equal(model.state_dict()["base_model.model.first.base_layer.weight"], outputs(model))
    model.unmerge_adapter()
    assert not layers_of(model)["first"].merged
    after = model.state_dict()
    assert all(torch.allclose(after[key], value, atol=1e-6) for key, value in before.items())
    assert torch.allclose(outputs(model), expected, atol=1e-5)
    with pytest.warns(UserWarning, match="Already unmerged"):
        model.unmerge_adapter()


def test_merge_twice_counts_once() -> None:
    model = adapted_mlp()
    expected = outputs(model)
    model.merge_adapter()
    with pytest.warns(UserWarning, match="All adapters are already merged"):
        model.merge_adapter()
    assert torch.allclose(outputs(model), expected, atol=1e-5)


def test_merge_and_unload_of_two() -> None:
    model = two_adapters()
    model.base_model.set_adapter(["one", "two"])
    expected = outputs(model)
    merged = model.merge_and_unload(adapter_names=["one", "two"])
    assert type(merged) is Mlp
    assert torch.allclose(outputs(merged), expected, atol=1e-5)


def test_unload_gives_the_base_back() -> None:
    base = adapted_mlp().unload()
    assert type(base) is Mlp
    assert torch.equal(outputs(base), outputs(Mlp()))
    assert base.state_dict().keys() == Mlp().state_dict().keys()


def test_saving_while_merged_keeps_adapter_and_sketch() -> None:
    model = adapted_mlp()
    before = {k: v.clone() for k, v in get_peft_model_state_dict(model).items()}
    model.merge_adapter()
    after = get_peft_model_state_dict(model)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert after.keys() == before.keys()


# --- saving and reports -----------------------------------------------------------------------------------------------


def test_save_pretrained_per_adapter(tmp_path: Path) -> None:
    model = two_adapters()
    model.save_pretrained(str(tmp_path))
    assert {"one", "two"} <= {path.name for path in tmp_path.iterdir()}
    fresh = get_adamss_model(Mlp(), mlp_config())
    for name in ("one", "two"):
        fresh.load_adapter(tmp_path / name, name)
        model.set_adapter(name)
        fresh.set_adapter(name)
        assert torch.allclose(outputs(fresh), outputs(model), atol=1e-6)


def test_auto_classes_find_what_we_save(tmp_path: Path) -> None:
    base = tiny_bert()
    base.save_pretrained(tmp_path / "base")
    base.name_or_path = str(tmp_path / "base")
    model = give_effect(get_adamss_model(base, config()))
    save_adapter(model, tmp_path / "adapter")
    loaded = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter")
    assert torch.allclose(outputs(loaded), outputs(model), atol=1e-5)


def test_print_trainable_parameters() -> None:
    model = adapted_mlp(**ASA)
    total = sum(p.numel() for p in model.parameters())

    def printed() -> list[int]:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            model.print_trainable_parameters()
        return [int(number.replace(",", "")) for number in re.findall(r": ([\d,]+) \|", text.getvalue() + "|")]

    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert printed() == [trained, total]
    prune_half(model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))
    left, after = printed()
    assert left == model.base_model.asa_summary()["trainable_parameters"] < trained
    assert after == total


def test_status_reports() -> None:
    model = two_adapters()
    status = model.get_model_status()
    assert (status.adapter_model_type, status.available_adapters) == ("AdamssModel", ["one", "two"])
    assert (status.active_adapters, status.merged_adapters, status.enabled) == (["one"], [], True)
    assert [layer.name for layer in model.get_layer_status()] == ["model.first", "model.second"]
    assert "adamss" in repr(model)


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("assign", [False, True])
def test_whole_state_dict_round_trip(pruned: bool, assign: bool) -> None:
    model = adapted_mlp(**ASA)
    if pruned:
        prune_half(model)
    other = get_adamss_model(Mlp(seed=5), mlp_config(**ASA))
    state = copy.deepcopy(model.state_dict())
    other.load_state_dict(state, strict=True, assign=assign)
    assert torch.equal(outputs(other), outputs(model))
    assert other.state_dict().keys() == model.state_dict().keys()
    assert other.base_model.asa_summary() == model.base_model.asa_summary()
    assert trainable(other) == trainable(model)


def test_state_dict_of_two_adapters() -> None:
    model = two_adapters()
    other = get_adamss_model(Mlp(seed=5), mlp_config(), "one")
    other.add_adapter("two", mlp_config(num_subspaces=5, subspace_rank=1, r=7))
    other.load_state_dict(copy.deepcopy(model.state_dict()), strict=True)
    for name in ("one", "two"):
        model.set_adapter(name)
        other.set_adapter(name)
        assert torch.equal(outputs(other), outputs(model))


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_trains_alone(pruned: bool, duplicate: Callable[[PeftModel], PeftModel]) -> None:
    model = adapted_mlp(**ASA)
    if pruned:
        prune_half(model)
    expected = outputs(model)
    twin = duplicate(model)
    assert type(twin) is type(model)
    assert torch.equal(outputs(twin), expected)
    optimizer = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=0.1)
    twin(mlp_input()).square().sum().backward()
    twin.base_model.update_and_allocate(2, optimizer)
    optimizer.step()
    assert not torch.equal(outputs(twin), expected)
    assert torch.equal(outputs(model), expected)
    assert all(p.grad is None for p in model.parameters())
    assert {id(layer) for layer in layers_of(twin).values()}.isdisjoint(map(id, layers_of(model).values()))
    assert all(layer in list(twin.modules()) for layer in layers_of(twin).values())


# --- training machinery -----------------------------------------------------------------------------------------------


# transformers 5 renamed the call; it is the old name that PEFT's users know.
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(reentrant: bool) -> None:
    def run(checkpointing: bool) -> dict[str, Tensor]:
        model = give_effect(get_adamss_model(tiny_bert(), config()))
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model.train()
        model(**batch()).loss.backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, checkpointed = run(False), run(True)
    assert plain.keys() == checkpointed.keys()
    assert len(plain) == 4 * 2 + 2
    for name, gradient in plain.items():
        assert torch.allclose(checkpointed[name], gradient, atol=1e-6), name


# Dynamo itself makes an instance of every autograd function that it traces.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("module", ["first", "second"])  # with bias and folded, without and projected
@pytest.mark.parametrize("state", ["fresh", "masked", "compact", "two active"])
def test_compiled_layer_equals_eager(state: str, module: str) -> None:
    torch._dynamo.reset()
    model = two_adapters() if state == "two active" else adapted_mlp(**ASA)
    if state == "two active":
        model.base_model.set_adapter(["one", "two"])
    if state in ("masked", "compact"):
        parameters = [p for p in model.parameters() if p.requires_grad]
        prune_half(model, torch.optim.SGD(parameters, lr=0.1) if state == "compact" else None)
    layer: Any = layers_of(model, model.active_adapters[0])[module]
    x = mlp_input().requires_grad_()
    expected = layer(x)
    wanted = torch.autograd.grad(expected.square().sum(), [x, *(p for p in layer.parameters() if p.requires_grad)])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    result = compiled(x)
    found = torch.autograd.grad(result.square().sum(), [x, *(p for p in layer.parameters() if p.requires_grad)])
    assert torch.allclose(result, expected, atol=1e-6)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pruned", [False, True])
def test_autocast(pruned: bool) -> None:
    model = adapted_mlp(**ASA)
    if pruned:
        prune_half(model)
    expected = gradients(model)
    exact = outputs(model)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = model(mlp_input())
        loss = result.square().sum()
    assert result.dtype == torch.bfloat16
    loss.backward()
    assert float((result.detach().float() - exact).norm() / exact.norm()) < 0.02
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.numel():
            assert parameter.grad is not None
            assert parameter.grad.dtype == torch.float32
            assert float((parameter.grad - expected[name]).norm() / expected[name].norm()) < 0.05, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_and_double_bases_train(dtype: torch.dtype, tmp_path: Path) -> None:
    exact = give_effect(get_adamss_model(Mlp(), mlp_config()), scale=0.3)
    save_adapter(exact, tmp_path)
    model = load_adapter(Mlp().to(dtype), tmp_path)
    result = model(mlp_input().to(dtype))
    assert result.dtype == dtype
    result.float().square().sum().backward()
    expected = gradients(exact)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            assert parameter.grad is not None
            error = (parameter.grad.float() - expected[name]).norm() / expected[name].norm()
            assert float(error) < (0.05 if dtype != torch.float64 else 1e-4), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_casting_the_whole_model_afterwards(dtype: torch.dtype) -> None:
    model = adapted_mlp()
    expected = outputs(model)
    model.to(dtype)
    with torch.no_grad():
        result = model(mlp_input().to(dtype))
    assert result.dtype == dtype
    assert float((result.float() - expected).norm() / expected.norm()) < 0.03


def test_modules_to_save_are_trained_beside_the_adapter() -> None:
    model = get_adamss_model(tiny_bert(), config())
    original = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    for _ in range(2):  # A moves only once B has
        model(**batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, original[name])}
    assert changed == trainable(model)
    assert any("classifier.modules_to_save" in name for name in changed)
    expected = outputs(model)
    with model.disable_adapter():
        assert torch.equal(outputs(model), outputs(tiny_bert()))
    assert torch.equal(outputs(model), expected)


def test_hooks_on_the_base_layer_still_run() -> None:
    """The fused product must step aside for whoever listens to the base layer."""
    model = adapted_mlp()
    expected, seen = outputs(model), []
    base: nn.Module = layers_of(model)["first"].get_base_layer()
    handle = base.register_forward_hook(lambda *_: seen.append(1))
    assert torch.allclose(outputs(model), expected, atol=1e-6)
    assert seen == [1]
    handle.remove()
    outputs(model)
    assert seen == [1]


def test_input_gradient_and_unusual_shapes() -> None:
    layer: Any = layers_of(adapted_mlp())["first"]
    merged = nn.functional.linear
    weight = layer.base_weight() + layer.get_delta_weight("default")
    bias = layer.get_base_layer().bias + layer.get_delta_bias("default")
    for shape in ((32,), (0, 32), (2, 3, 4, 32)):
        x = torch.randn(shape, requires_grad=True)
        expected = merged(x, weight, bias)
        result = layer(x)
        assert torch.allclose(result, expected, atol=1e-5)
        (found,) = torch.autograd.grad(result.sum(), x)
        (wanted,) = torch.autograd.grad(expected.sum(), x)
        assert torch.allclose(found, wanted, atol=1e-5)
    strided = torch.randn(32, 6).t()
    assert torch.allclose(layer(strided), merged(strided, weight, bias), atol=1e-5)


def test_generation() -> None:
    def make() -> PeftModel:
        return give_effect(
            get_adamss_model(tiny_llama(), config(target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
        )

    prompt = {"input_ids": batch()["input_ids"], "attention_mask": torch.ones_like(batch()["input_ids"])}
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    model = make()
    generated = model.generate(**prompt, **settings)
    assert generated.shape == (4, 20)
    merged: Any = make().merge_and_unload()
    assert torch.equal(merged.generate(**prompt, **settings), generated)
    base: Any = tiny_llama()
    assert not torch.equal(base.generate(**prompt, **settings), generated)


# --- the autograd function --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pruned", ["none", "mask", "compact"])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("r", [3, 9])  # less and more than twice R: projected on the basis, or the basis folded into A
@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5)])
def test_gradcheck(shape: tuple[int, ...], r: int, fused: bool, with_bias: bool, pruned: str) -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*size: int, trained: bool = False) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_(trained)

    n_out, n_in, total_rank = 6, shape[-1], 4
    # Subspaces {0, 1, 2}, {3, 4}, {5} of ranks 2, 1, 1, with their rows mixed up.
    rows, ranks = torch.tensor([0, 2, 0, 1, 1, 0]), (2, 1, 1)
    cells = torch.cat(
        [
            ((sum(ranks[:k]) + torch.arange(rank)) * n_out + torch.where(rows == k)[0][:, None]).reshape(-1)
            for k, rank in enumerate(ranks)
        ]
    )
    x, a, b = random(*shape, trained=True), random(total_rank, r, trained=True), random(len(cells), trained=True)
    basis = random(r, n_in + with_bias)
    weight, bias = random(n_out, n_in), random(n_out) if with_bias else None
    base_out = None if fused else random(*shape[:-1], n_out, trained=True)
    frozen: tuple[Tensor | None, ...] = (None,) * 4
    if pruned != "none":  # the middle subspace: row 2 of A, elements 6 and 7 of B
        live_a, live_b = torch.ones(4, dtype=torch.bool), torch.ones(9, dtype=torch.bool)
        live_a[2] = False
        live_b[6:8] = False
        frozen_a, frozen_b = random(total_rank, r), random(len(cells))
        if pruned == "mask":
            frozen = (frozen_a, frozen_b, live_a[:, None], live_b)
        else:
            a, b = (value.detach()[live].requires_grad_() for value, live in ((a, live_a), (b, live_b)))
            frozen = (frozen_a, frozen_b, torch.where(live_a)[0], torch.where(live_b)[0])

    def function(x: Tensor, a: Tensor, b: Tensor, base_out: Tensor | None = None) -> Tensor:
        fused_weight, fused_bias = (weight, bias) if base_out is None else (None, None)
        out: Tensor = AdaptedLinear.apply(x, base_out, fused_weight, fused_bias, a, b, basis, cells, *frozen)
        return out

    assert projects(total_rank, basis, x.dtype) is (r == 3)
    assert torch.autograd.gradcheck(function, (x, a, b) if base_out is None else (x, a, b, base_out))
    # And the value is the formula's.
    packed_a, packed_b = a, b
    if pruned == "mask":
        packed_a, packed_b = torch.where(live_a[:, None], a, frozen_a), torch.where(live_b, b, frozen_b)
    if pruned == "compact":
        packed_a, packed_b = (
            full.clone().index_copy_(0, torch.where(live)[0], part)
            for full, live, part in ((frozen_a, live_a, a), (frozen_b, live_b, b))
        )
    dense = torch.zeros(n_out * total_rank, dtype=torch.float64).index_copy_(0, cells, packed_b).view(-1, n_out).t()
    inputs = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1) if with_bias else x
    base = nn.functional.linear(x, weight, bias) if base_out is None else base_out
    assert torch.allclose(function(x, a, b, base_out), base + inputs @ (dense @ packed_a @ basis).t())
