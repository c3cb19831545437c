"""The adapted linear layer: forward through the packed parameters, state dicts in the stock file format."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from adamss_core.delta import AdaptedLinear
from adamss_core.layer import AdamssLayer
from adamss_core.layer_state import load_layer_state, unpack_layer_state


class AdamssLinear(nn.Module, AdamssLayer):
    """AdaMSS adapters on nn.Linear, transformers' Conv1D or a bitsandbytes linear."""

    def __init__(self, base_layer: nn.Module, module_name: str) -> None:
        super().__init__()
        self._init_adapters(base_layer, module_name)
        base = self.get_base_layer()
        if isinstance(base, Conv1D):
            self.in_features, self.out_features = base.weight.shape
        else:
            self.in_features, self.out_features = base.in_features, base.out_features
        self.register_state_dict_post_hook(unpack_layer_state)
        self.register_load_state_dict_pre_hook(load_layer_state)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Apply the base and its active adapters: (..., in) -> (..., out)."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        parameters: Any = self._modules["adamss_A"]  # see _delta
        adapters = [name for name in self.active_adapters if name in parameters]
        if self.disable_adapters or self.merged or not adapters:
            return self.base_layer(x, *args, **kwargs)

        autocast = torch.is_autocast_enabled(x.device.type)
        compute = torch.get_autocast_dtype(x.device.type) if autocast else parameters[adapters[0]].dtype
        frozen = self._fusable(x, compute, autocast=autocast) if len(adapters) == 1 else None
        if frozen is not None and autocast:
            weight, bias = frozen
            with torch.autocast(x.device.type, enabled=False):
                bias = None if bias is None else bias.to(compute)
                return self._delta(adapters[0], x.to(compute), None, weight.to(compute), bias)
        if frozen is not None:
            return self._delta(adapters[0], x, None, *frozen)

        result = self.base_layer(x, *args, **kwargs)
        dtype = result.dtype
        for name in adapters:
            compute = compute if autocast else parameters[name].dtype
            with torch.autocast(x.device.type, enabled=False) if autocast else nullcontext():
                result = self._delta(name, x.to(compute), result.to(compute), None, None)
        return result.to(dtype)

    def _delta(
        self, name: str, x: Tensor, base_out: Tensor | None, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        # Attribute access on nn.Module would take a tenth of a small layer's forward.
        modules: dict[str, Any] = self._modules
        state = modules["adamss_asa"]._modules.get(name)
        pruned = (None,) * 4 if state is None else (state.frozen_a, state.frozen_b, state.live_a, state.live_b)
        a, b = modules["adamss_A"]._parameters.get(name), modules["adamss_B"]._parameters.get(name)
        if a is None:  # a replica of nn.DataParallel, whose parameters are plain attributes
            a, b = modules["adamss_A"][name], modules["adamss_B"][name]
        if a.is_meta:
            self.check_loaded(name)
        if a.numel() == 0:
            # All pruned: no gradient is needed here. The parameters still require one, so that an optimizer made after
            # loading has the same list of parameters as the one made before.
            a, b = a.detach(), b.detach()
        out: Tensor = AdaptedLinear.apply(
            x,
            base_out,
            weight,
            bias,
            a,
            b,
            modules["adamss_newB"]._buffers[name],
            modules["adamss_cells"]._buffers[name],
            *pruned,
        )
        return out

    def _fusable(self, x: Tensor, compute: torch.dtype, *, autocast: bool) -> tuple[Tensor, Tensor | None] | None:
        """Return the base's weight and bias if its matmul can be fused into ours, else None.

        That takes a plain, frozen nn.Linear without hooks, which computes in the dtype that the adapter computes in.
        """
        base = self.base_layer
        if (
            type(base) is not nn.Linear
            or "forward" in base.__dict__  # patched, as accelerate's offloading does
            or base._forward_hooks
            or base._forward_pre_hooks
            or base._backward_hooks
            or base._backward_pre_hooks
        ):
            return None
        parameters: dict[str, Any] = base._parameters
        weight, bias = parameters.get("weight"), parameters.get("bias")
        if weight is None:  # a replica of nn.DataParallel
            return None
        if weight.requires_grad or (bias is not None and bias.requires_grad):
            return None
        # Autocast casts all but fp64, which it leaves alone.
        same = torch.float64 not in (x.dtype, weight.dtype) if autocast else x.dtype == weight.dtype == compute
        return (weight, bias) if same else None

    def __repr__(self) -> str:
        return "adamss." + super().__repr__()
