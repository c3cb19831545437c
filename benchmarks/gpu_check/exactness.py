"""One adapted layer on the device against the same layer in fp64 on the CPU."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from adamss_core import get_adamss_model
from benchmarks.gpu_check.contenders import device
from benchmarks.gpu_check.process import Channel
from benchmarks.gpu_check.sizes import Precision, Sizes
from benchmarks.variants import Shape, adamss_config

# Relative errors of matrix products in these precisions.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-4, "bf16": 2e-2, "bf16 weights": 2e-2}
SECTION = "exactness: one layer on the device against fp64 on the CPU, largest relative error"


class _Layer(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.layer = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


def exactness(channel: Channel, sizes: Sizes) -> None:
    """Output and all gradients: dense, and with half of the subspaces pruned."""
    hidden, tokens = sizes.encoder.hidden, 256
    for subspaces in sizes.subspaces:
        model = _adapted(hidden, subspaces, sizes.r)
        for pruned in (False, True):
            if pruned:
                _prune_half(model)
            reference = _results(
                copy.deepcopy(model).double(), hidden, tokens, torch.device("cpu"), "fp32", torch.float64
            )
            for precision, tolerance in TOLERANCES.items():
                moved = copy.deepcopy(model).to(device())
                dtype = torch.bfloat16 if precision == "bf16 weights" else torch.float32
                moved.base_model.model.layer.base_layer.to(dtype)
                found = _results(moved, hidden, tokens, device(), precision, dtype)
                errors = {name: _error(found[name], reference[name]) for name in reference}
                half = "half" if pruned else "none"
                channel.row(SECTION, K=subspaces, pruned=half, precision=precision, **errors)
                if not max(errors.values()) <= tolerance:
                    channel.fail(f"K={subspaces}, pruned={pruned}, {precision}", f"relative errors {errors}")


def _adapted(hidden: int, subspaces: int, r: int) -> Any:
    """Decomposed on the device, then brought to the CPU, as a checkpoint would be."""
    torch.manual_seed(0)
    base = _Layer(hidden).to(device())
    config = adamss_config(
        Shape(hidden, subspaces, 1),
        r=r,
        init_weights=None,
        use_asa=True,
        asa_target_subspaces=(subspaces + 1) // 2,
        init_warmup=0,
        final_warmup=1,
        mask_interval=1,
    )
    model: Any = get_adamss_model(base, config)
    with torch.no_grad():
        model.base_model.model.layer.adamss_B["default"].normal_()
    return model.to("cpu")


def _prune_half(model: Any) -> None:
    """One step of ASA on random gradients, with an optimizer: pruned rows leave the parameters."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
    for parameter in optimizer.param_groups[0]["params"]:
        parameter.grad = torch.randn_like(parameter)
    model.base_model.update_and_allocate(1, optimizer=optimizer)
    optimizer.zero_grad()


def _results(
    model: Any, hidden: int, tokens: int, place: torch.device, precision: Precision, dtype: torch.dtype
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(tokens, hidden, generator=generator).to(place, dtype).requires_grad_()
    gradient = torch.randn(tokens, hidden, generator=generator).to(place)
    with torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"):
        out = model(x)
    out.backward(gradient.to(out.dtype))
    layer = model.base_model.model.layer
    found = {"out": out, "grad x": x.grad, "grad A": layer.adamss_A["default"].grad}
    found["grad B"] = layer.adamss_B["default"].grad
    return {name: value.detach().double().cpu() for name, value in found.items() if value is not None}


def _error(found: Tensor, reference: Tensor) -> float:
    """||found - reference|| / ||reference||; not a number where anything is."""
    return float((found - reference).norm() / reference.norm())
