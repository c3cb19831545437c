"""The adapter that is built from what a budget chose has exactly the elements that the plan promises."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Literal

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import AdamssConfig, PeftModel
from torch import Tensor, nn

from adamss_core import Calibration, get_adamss_model
from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.budget import Fitted, fit_budget
from adamss_core.spec.estimate import planned_elements
from adamss_core.spec.facts import LinearModule
from adamss_core.spec.problem import SpecProblem
from adamss_core.spec.shapes import shape_of
from adamss_core.training.adapter_size import adapter_size, published_elements

Pruned = Literal["frozen", "removed"]


class Chain(nn.Module):
    """Layers of one linear module each, through which a batch passes."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"lin": nn.Linear(*pair)}) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer.get_submodule("lin")(x))
        return x


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(2, 40), min_size=3, max_size=6),
    st.integers(5, 500),
    st.sampled_from([None, "frozen", "removed"]),
)
def test_the_adapter_has_as_many_elements_as_promised(widths: list[int], budget: int, pruned: Pruned | None) -> None:
    torch.manual_seed(0)
    model = Chain(widths)
    modules = [
        LinearModule(name=name, kind="Linear", in_features=one.in_features, out_features=one.out_features, bias=True)
        for name, one in model.named_modules()
        if isinstance(one, nn.Linear)
    ]
    spec = AdamssSpec(budget=budget, use_asa=pruned is not None, asa_pruned=pruned or "frozen")
    try:
        fitted = fit_budget(spec, modules, 10_000)
    except SpecProblem:
        return
    promised = planned_elements(fitted.spec, [shape_of(module, fitted.spec) for module in fitted.modules])
    assert (promised.peak, promised.published) == (fitted.peak, fitted.elements)
    adapted = trained(model, fitted)
    assert adapter_size(adapted).elements(fitted.spec) == promised
    published = published_elements(adapted)
    assert published <= promised.published <= budget
    if pruned != "removed" or len(set(widths)) == 1:  # else it depends on which modules stay
        assert published == promised.published
    left = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    assert published == (promised.peak if pruned == "frozen" else left)


def trained(model: nn.Module, fitted: Fitted) -> PeftModel:
    """Put the chosen adapter on a model, calibrate it as a run does, and let ASA prune it where it is on."""
    spec, inputs = fitted.spec, torch.randn(8, model.layers[0]["lin"].in_features)  # type: ignore[index,union-attr]
    schedule = {"target_modules": ["lin"], "init_warmup": 0, "final_warmup": 1, "mask_interval": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # r is clamped at narrow modules
        adapted = get_adamss_model(
            model, AdamssConfig(**spec.config_fields() | schedule), asa_pruned=spec.asa_pruned
        ).eval()
    with Calibration(adapted, spec.basis, row_share=spec.row_share) as calibration:
        loss = adapted(inputs).square().sum()
        if calibration.needs_backward:
            loss.backward()
    calibration.apply()
    if spec.use_asa:
        optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.1)
        for step in (1, 2):
            adapted(inputs).square().sum().backward()
            optimizer.step()
            adapted.base_model.update_and_allocate(step, optimizer=optimizer)
            optimizer.zero_grad()
    return adapted
