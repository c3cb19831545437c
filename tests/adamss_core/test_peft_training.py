"""Checkpointing, compilers, autocast, other precisions and autograd train an adapted model as they train any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from adamss_core import get_adamss_model, load_adapter, save_adapter
from adamss_core.delta import AdaptedLinear, projects
from tests.adamss_core.support import (
    ASA,
    adapted_mlp,
    give_effect,
    gradients,
    layers_of,
    mlp_config,
    mlp_input,
    outputs,
    prune_half,
    trainable,
    two_adapters,
)
from tests.models import Mlp, batch, config, tiny_bert, tiny_llama


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
