"""The base's product inside ours: alone and under autocast, against the general path and against fp32."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from adamss_core.delta import AdaptedLinear
from adamss_core.layer import AdamssLayer
from adamss_core.linear import AdamssLinear
from tests.adamss_core.support import adapted_mlp, layers_of, mlp_input

BF16 = 2.0**-8  # its rounding


def gradients(layer: AdamssLayer, *, half: bool) -> list[Tensor]:
    """Output, and gradients of the input, of A and of B, for a sum of squares as the loss."""
    assert isinstance(layer, AdamssLinear)
    layer.zero_grad()
    x = mlp_input().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = layer(x)
    assert out.dtype == (torch.bfloat16 if half else torch.float32)
    out.float().square().sum().backward()
    parts = [out.detach().float(), x.grad, layer.adamss_A["default"].grad, layer.adamss_B["default"].grad]
    return [part.clone() for part in parts if part is not None]


def general(layer: AdamssLayer, *, half: bool) -> list[Tensor]:
    """The same with a hook on the base, which then must be called."""
    handle = layer.get_base_layer().register_forward_hook(lambda *_: None)
    try:
        return gradients(layer, half=half)
    finally:
        handle.remove()


@pytest.fixture
def layer() -> AdamssLayer:
    return layers_of(adapted_mlp())["first"]


def test_one_product_and_the_base_s_own_agree(layer: AdamssLayer) -> None:
    for fused, separate in zip(gradients(layer, half=False), general(layer, half=False), strict=True):
        torch.testing.assert_close(fused, separate, rtol=1e-5, atol=1e-5)


def test_under_autocast_both_are_as_far_from_fp32(layer: AdamssLayer) -> None:
    exact = gradients(layer, half=False)
    for path in (gradients, general):
        for rounded, right in zip(path(layer, half=True), exact, strict=True):
            assert float((rounded - right).norm() / right.norm()) < 2 * BF16


def test_under_autocast_the_base_is_not_called(layer: AdamssLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.dtype | None] = []
    apply = AdaptedLinear.apply

    def watch(x: Tensor, base_out: Tensor | None, weight: Tensor | None, *rest: Tensor | None) -> Tensor:
        assert base_out is None or weight is None
        given.append(None if weight is None else weight.dtype)
        out: Tensor = apply(x, base_out, weight, *rest)
        return out

    monkeypatch.setattr(AdaptedLinear, "apply", watch)
    gradients(layer, half=True)
    gradients(layer, half=False)
    general(layer, half=True)
    assert given == [torch.bfloat16, torch.float32, None]


def test_a_double_input_stays_out_of_autocast() -> None:
    model: PeftModel = adapted_mlp().double()
    with torch.autocast("cpu", torch.bfloat16):
        out = layers_of(model)["first"](mlp_input().double())
    assert out.dtype == torch.float64


def test_an_adapter_without_effect_changes_no_bit(layer: AdamssLayer) -> None:
    with torch.no_grad():
        layer.adamss_B["default"].zero_()
        x = mlp_input()
        assert torch.equal(layer(x), layer.get_base_layer()(x))
