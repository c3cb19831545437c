"""Watch the inputs of layers, and the gradients of their outputs, while rows pass a model; nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

MASKS = ("attention_mask", "decoder_attention_mask")
OnInput = Callable[[str, Tensor], None]
OnGradient = Callable[[str, Tensor, Tensor], None]


class LayerWatch:
    """Context manager that shows each call of some layers to two functions.

    Inside, no parameter requires a gradient, so that `backward` leaves none behind.

    Args:
        model: that rows pass inside of the block.
        layers: module name -> module.
        on_input: takes name and input, (..., in), as the layer gets it; None to leave inputs alone.
        on_gradient: takes name, inputs (tokens, in) and gradients of the output (tokens, out), in fp32, at each
            backward pass; None to need none.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, nn.Module],
        on_input: OnInput | None = None,
        on_gradient: OnGradient | None = None,
    ) -> None:
        self._model, self._layers = model, layers
        self._on_input, self._on_gradient = on_input, on_gradient
        self._masks: list[Tensor] = []
        self._handles: list[RemovableHandle] = []
        self._trained: list[nn.Parameter] = []

    def __enter__(self) -> Self:
        self._trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        for parameter in self._trained:
            parameter.requires_grad_(False)
        self._handles = [self._model.register_forward_pre_hook(self._keep_masks, with_kwargs=True)]
        self._handles += [
            layer.register_forward_hook(partial(self._watch, name)) for name, layer in self._layers.items()
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self._masks = []

    def without_padding(self, x: Tensor) -> Tensor:
        """Return the tokens of x (..., in) that are no padding, (tokens, in)."""
        for mask in self._masks:
            if x.dim() == 3 and x.shape[:2] == mask.shape:
                return x[mask.bool()]
        return x.reshape(-1, x.shape[-1])

    def _keep_masks(self, _: nn.Module, __: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        masks = [inputs[name] for name in MASKS if isinstance(inputs.get(name), Tensor)]
        self._masks = [mask for mask in masks if mask.dim() == 2]

    def _watch(self, name: str, _: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        x = arguments[0]
        if self._on_input is not None:
            with torch.no_grad():
                self._on_input(name, x)
        if self._on_gradient is None or not torch.is_grad_enabled():
            return None
        if not output.requires_grad:  # the first watched layer: nothing below it has a gradient
            output = output + output.new_zeros((), requires_grad=True)
        output.register_hook(partial(self._show_gradient, name, x.detach()))
        return output

    @torch.no_grad()
    def _show_gradient(self, name: str, x: Tensor, arrived: Tensor) -> None:
        assert self._on_gradient is not None
        tokens, gradient = (value.reshape(-1, value.shape[-1]).float() for value in (x, arrived))
        self._on_gradient(name, tokens, gradient)
