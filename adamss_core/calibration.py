"""Take the basis of an adapter from data: calibration rows pass the model once, while hooks watch its adapted layers.

"inputs": the leading eigenvectors of the second moment of [x; 1], the directions in which a layer's inputs vary.
"gradient": the leading right singular vectors of dL/d[W|b], the directions in which the loss would change
the weight.
Row sets and the start of A stay those of W: stock PEFT computes row sets from W when it loads a file, and takes the
basis from the file.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal, Self, get_args

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from adamss_core.adapter_files import active_adapter
from adamss_core.basis_sketch import BasisSketch, extend
from adamss_core.compiled import original
from adamss_core.errors import CalibrationError
from adamss_core.layer import AdamssLayer
from adamss_core.model import AdamssModel

CalibratedBasis = Literal["inputs", "gradient"]
_WORDS = {"inputs": "inputs", "gradient": "gradients"}
MASKS = ("attention_mask", "decoder_attention_mask")


class Calibration:
    """Context manager in which calibration rows pass a model with a fresh adapter; `apply` takes the basis from them.

    Inside, no parameter requires a gradient, so that `backward` leaves none behind.

        with Calibration(model, "gradient") as calibration:
            for batch in batches:
                model(**batch).loss.backward()
        calibration.apply()

    Args:
        model: from `get_adamss_model`, in evaluation mode so that dropout hides nothing.
        basis: "inputs" needs forward passes only, "gradient" a backward pass for each.
        seed: of the test matrices for wide layers.

    Raises:
        CalibrationError: another basis is asked for.
    """

    def __init__(self, model: PeftModel, basis: CalibratedBasis, adapter_name: str | None = None, *, seed: int = 0):
        if basis not in get_args(CalibratedBasis):
            raise CalibrationError(
                f"basis={basis!r} cannot be calibrated.", hint='Use "inputs" or "gradient".', where="basis"
            )
        self._model, self._basis = original(model), basis
        self._tuner: AdamssModel = model.base_model
        self._adapter = adapter_name or active_adapter(model)
        self._layers = self._tuner.adapted_layers(self._adapter)
        self._sketches = {name: self._sketch(layer, seed) for name, layer in self._layers.items()}
        self._masks: list[Tensor] = []
        self._latest: tuple[Tensor, Tensor] | None = None  # an input and its product
        self._handles: list[RemovableHandle] = []
        self._trained: list[nn.Parameter] = []

    def _sketch(self, layer: AdamssLayer, seed: int) -> BasisSketch:
        current = layer.adamss_newB[self._adapter]  # (r, in[+1])
        # Zeros leave the bias alone, and must stay.
        columns = layer.in_features + bool(current[:, layer.in_features :].any())
        n = columns if self._basis == "inputs" else layer.out_features
        return BasisSketch(columns, n, len(current), seed=seed, device=current.device)

    # --- watching -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        for parameter in self._trained:
            parameter.requires_grad_(False)
        self._handles = [self._model.register_forward_pre_hook(self._keep_masks, with_kwargs=True)]
        for name, layer in self._layers.items():
            assert isinstance(layer, nn.Module)
            self._handles.append(layer.register_forward_hook(self._watch(self._sketches[name])))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self._masks, self._latest = [], None

    def _keep_masks(self, _: nn.Module, __: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        masks = [inputs[name] for name in MASKS if isinstance(inputs.get(name), Tensor)]
        self._masks = [mask for mask in masks if mask.dim() == 2]

    def _watch(self, sketch: BasisSketch) -> Any:
        """Return the hook that adds a layer's tokens to its sketch."""

        def inputs(_: nn.Module, arguments: tuple[Tensor, ...], __: Tensor) -> None:
            sketch.value += self._moment(sketch, arguments[0])

        def gradient(_: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if not torch.is_grad_enabled():
                return None
            if not output.requires_grad:  # the first adapted layer: nothing below it has a gradient
                output = output + output.new_zeros((), requires_grad=True)
            x = arguments[0].detach()
            output.register_hook(lambda arrived: _add_gradient(sketch, x, arrived))
            return output

        return inputs if self._basis == "inputs" else gradient

    @torch.no_grad()
    def _moment(self, sketch: BasisSketch, x: Tensor) -> Tensor:
        """Return what the tokens of x (..., in) add; layers that share an input, as query and value, share it too."""
        latest = self._latest
        if latest is not None and latest[0] is x and latest[1].shape == sketch.value.shape:
            return latest[1]
        tokens = self._without_padding(x).float()
        product = sketch.product(tokens, extend(tokens, sketch.value.shape[0]))
        self._latest = x, product
        return product

    def _without_padding(self, x: Tensor) -> Tensor:
        """Return the tokens of x (..., in) that are no padding, (tokens, in)."""
        for mask in self._masks:
            if x.dim() == 3 and x.shape[:2] == mask.shape:
                return x[mask.bool()]
        return x.reshape(-1, x.shape[-1])

    # --- taking the basis -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def apply(self) -> list[str]:
        """Give each layer its basis from the data; the adapter must be as it was made, with A and B in no basis yet.

        Returns:
            Modules that keep the weight's basis, because no row gave them an input or a gradient.

        Raises:
            CalibrationError: no row passed, or values are not finite; no layer is changed.
        """
        self._check()
        kept = [name for name, sketch in self._sketches.items() if not sketch.value.any()]
        latest: tuple[Tensor, Tensor] | None = None
        for name, sketch in self._sketches.items():
            if name in kept:
                continue
            if latest is None or not (latest[0].shape == sketch.value.shape and torch.equal(latest[0], sketch.value)):
                latest = sketch.value, sketch.basis()
            basis = torch.zeros_like(self._layers[name].adamss_newB[self._adapter])
            basis[: latest[1].shape[0], : latest[1].shape[1]] = latest[1]
            self._layers[name].adamss_newB[self._adapter] = basis
        self._tuner.basis_kinds[self._adapter] = self._basis
        return kept

    def _check(self) -> None:
        for name, sketch in self._sketches.items():
            if not sketch.value.isfinite().all():
                raise CalibrationError(
                    f"The {_WORDS[self._basis]} of '{name}' over the calibration rows are NaN or infinite.",
                    hint="Calibrate in fp32 or bf16, and look for rows that the model cannot compute; or use the "
                    'basis "weights".',
                    where=name,
                )
        if not any(sketch.value.any() for sketch in self._sketches.values()):
            gradient = self._basis == "gradient"
            raise CalibrationError(
                f"No calibration row gave an adapted layer {'a gradient' if gradient else 'an input'}.",
                hint="Let at least one row pass the model inside of the block"
                + (", and call backward on its loss." if gradient else "."),
                where="basis",
            )


@torch.no_grad()
def _add_gradient(sketch: BasisSketch, x: Tensor, arrived: Tensor) -> None:
    """Add the share of a call in dL/d[W|b], from its input x (..., in) and the gradient of its output (..., out)."""
    tokens, gradient = (value.reshape(-1, value.shape[-1]).float() for value in (x, arrived))
    sketch.value += sketch.product(tokens, gradient)
