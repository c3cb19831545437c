"""Take the basis of an adapter from data: calibration rows pass the model once, while hooks watch its adapted layers.

"inputs": the leading eigenvectors of the second moment of [x; 1], the directions in which a layer's inputs vary.
"gradient": the leading right singular vectors of dL/d[W|b], in which the loss would change the weight most.
Row sets and the start of A stay those of W: stock PEFT computes row sets from W when it loads a file, and takes the
basis from the file. B may be limited to the output rows with the largest gradient; files have zeros for the others.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Literal, Self, cast, get_args

import torch
from peft import PeftModel
from torch import Tensor, nn

from adamss_core.adapter_files import active_adapter
from adamss_core.basis_sketch import BasisSketch, extend
from adamss_core.compiled import original
from adamss_core.errors import CalibrationError
from adamss_core.layer import AdamssLayer
from adamss_core.layer_watch import LayerWatch
from adamss_core.layout import SubspaceLayout
from adamss_core.model import AdamssModel
from adamss_core.spec.packed_sizes import trained_rows

Basis = Literal["weights", "inputs", "gradient"]
_WORDS = {"inputs": "inputs", "gradient": "gradients"}


class Calibration:
    """Context manager in which calibration rows pass a model with a fresh adapter; `apply` then shapes it by them.

    Inside, no parameter requires a gradient, so that `backward` leaves none behind.

        with Calibration(model, "gradient") as calibration:
            for batch in batches:
                model(**batch).loss.backward()
        calibration.apply()

    Args:
        model: from `get_adamss_model`, in evaluation mode so that dropout hides nothing.
        basis: "inputs" needs forward passes only, "gradient" a backward pass for each; "weights" stays as it is.
        row_share: of the output rows, that are trained: those with the largest gradient. Below 1 it needs backward
            passes too.
        seed: of the test matrices for wide layers.

    Attributes:
        caught: once applied, layer -> share of the energy of its inputs or gradient, over these rows, that its basis
            catches; None for inputs of wide layers, whose second moment is only sketched.

    Raises:
        CalibrationError: basis or row_share are out of range, or nothing is asked for.
    """

    def __init__(
        self,
        model: PeftModel,
        basis: Basis = "weights",
        adapter_name: str | None = None,
        *,
        row_share: float = 1.0,
        seed: int = 0,
    ) -> None:
        _check_arguments(basis, row_share)
        self._model, self._basis, self._row_share = original(model), basis, row_share
        self._tuner: AdamssModel = model.base_model
        self._adapter = adapter_name or active_adapter(model)
        self._layers = self._tuner.adapted_layers(self._adapter)
        self._bases: dict[str, BasisSketch] = {}
        self._rows: dict[str, BasisSketch] = {}
        for name, layer in self._layers.items():
            self._add_sketches(name, layer, seed)
        self.caught: dict[str, float | None] = {}
        self._latest: tuple[Tensor, Tensor] | None = None  # an input and its product
        self._watch = LayerWatch(
            self._model,
            cast("dict[str, nn.Module]", self._layers),
            self._add_input if basis == "inputs" else None,
            self._add_gradient if self.needs_backward else None,
        )

    @property
    def needs_backward(self) -> bool:
        """Return whether each forward pass must be followed by a backward pass."""
        return self._basis == "gradient" or self._row_share < 1

    def _add_sketches(self, name: str, layer: AdamssLayer, seed: int) -> None:
        current = layer.adamss_newB[self._adapter]  # (r, in[+1])
        columns, out = self._columns(layer), layer.out_features
        make = partial(BasisSketch, seed=seed, device=current.device)
        if self._basis != "weights":
            self._bases[name] = make(columns, columns if self._basis == "inputs" else out, len(current))
        if self._row_share < 1:
            self._rows[name] = make(out, columns, 0)

    def _columns(self, layer: AdamssLayer) -> int:
        """Return the width of [x; 1], or of x where zeros of the basis leave the bias alone, which must stay so."""
        return layer.in_features + bool(layer.adamss_newB[self._adapter][:, layer.in_features :].any())

    # --- watching -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._watch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.__exit__(kind, error, trace)
        self._latest = None

    def _add_gradient(self, name: str, tokens: Tensor, gradient: Tensor) -> None:
        """Add the share of a call in dL/d[W|b], from inputs (tokens, in) and the outputs' gradients (tokens, out)."""
        if self._basis == "gradient":
            self._bases[name].value += self._bases[name].product(tokens, gradient)
        if name in self._rows:
            extended = extend(tokens, self._columns(self._layers[name]))
            self._rows[name].value += self._rows[name].product(gradient, extended)

    def _add_input(self, name: str, x: Tensor) -> None:
        """Add the tokens of x (..., in); layers that share an input, as query and value, share the product too."""
        sketch, latest = self._bases[name], self._latest
        if latest is None or latest[0] is not x or latest[1].shape != sketch.value.shape:
            tokens = self._watch.without_padding(x).float()
            latest = self._latest = x, sketch.product(tokens, extend(tokens, sketch.value.shape[0]))
        sketch.value += latest[1]

    def bases(self) -> dict[str, Tensor]:
        """Return the leading directions of each layer that a row reached, (r, columns), without shaping the adapter."""
        return {name: sketch.basis() for name, sketch in self._bases.items() if sketch.value.any()}

    # --- shaping the adapter --------------------------------------------------------------------------------------

    @torch.no_grad()
    def apply(self) -> list[str]:
        """Give each layer its basis and its rows; the adapter must be as it was made, with A and B in no basis yet.

        Returns:
            Modules that keep the weight's basis or all rows alike, because no row gave them an input or a gradient.

        Raises:
            CalibrationError: no row passed, or values are not finite; no layer is changed.
        """
        sketches = [*self._bases.items(), *self._rows.items()]
        self._check(sketches)
        kept = list(dict.fromkeys(name for name, sketch in sketches if not sketch.value.any()))
        self._apply_bases()
        for name, sketch in self._rows.items():
            self._leave_out_rows(self._layers[name], sketch.energies())
        return kept

    def _apply_bases(self) -> None:
        latest: tuple[Tensor, Tensor, Tensor] | None = None  # layers that share an input share its directions
        for name, sketch in self._bases.items():
            if not sketch.value.any():
                continue
            basis = torch.zeros_like(self._layers[name].adamss_newB[self._adapter])
            if latest is None or len(latest[1]) < len(basis) or not _are_equal(latest[0], sketch.value):
                latest = sketch.value, *sketch.leading()
            leading = latest[1][: len(basis)]  # a narrow layer beside a wide one, as keys and values, takes fewer
            basis[: leading.shape[0], : leading.shape[1]] = leading
            self._layers[name].adamss_newB[self._adapter] = basis
            self.caught[name] = self._caught(sketch, latest[2], len(leading))
        if self._bases:
            self._tuner.basis_kinds[self._adapter] = self._basis

    def _caught(self, sketch: BasisSketch, values: Tensor, r: int) -> float | None:
        """Return the share of the energy that r directions catch of the rows that they come from.

        The singular values of a second moment are energies themselves; its sketch knows only their squares.
        """
        energies = values.square() if self._basis == "gradient" else values
        if self._basis == "inputs" and not sketch.is_exact:
            return None
        return min(1.0, float(energies[:r].sum() / energies.sum()))

    def _leave_out_rows(self, layer: AdamssLayer, energies: Tensor) -> None:
        layout = layer.layouts[self._adapter]
        layout = replace(layout, trained=choose_rows(layout, energies.cpu(), self._row_share))
        a, b = layer.packed(self._adapter)
        b = b[layout.trained_elements().to(b.device)]
        layer.install(self._adapter, layer.adamss_newB[self._adapter], layout, a.clone(), b)

    def _check(self, sketches: list[tuple[str, BasisSketch]]) -> None:
        for name, sketch in sketches:
            if not sketch.value.isfinite().all():
                raise CalibrationError(
                    f"The {_WORDS.get(self._basis, 'gradients')} of '{name}' over the calibration rows are NaN or "
                    "infinite.",
                    hint="Calibrate in fp32 or bf16, and look for rows that the model cannot compute; or use the "
                    'basis "weights" and all rows.',
                    where=name,
                )
        if not any(sketch.value.any() for _, sketch in sketches):
            raise CalibrationError(
                f"No calibration row gave an adapted layer {'a gradient' if self.needs_backward else 'an input'}.",
                hint="Let at least one row pass the model inside of the block"
                + (", and call backward on its loss." if self.needs_backward else "."),
                where="basis",
            )


def choose_rows(layout: SubspaceLayout, energies: Tensor, share: float) -> Tensor:
    """Choose the rows with the largest energies, and of each subspace at least the best: (out,) bool.

    Args:
        energies: of each row, (out,).
    """
    order = energies.argsort(descending=True, stable=True)
    owners = layout.rows[order].tolist()
    best = [owners.index(subspace) for subspace in range(layout.num_subspaces)]
    others = [position for position in range(len(order)) if position not in set(best)]
    count = trained_rows(layout.out_features, share, layout.num_subspaces)
    chosen = torch.zeros(layout.out_features, dtype=torch.bool)
    chosen[order[(best + others)[:count]]] = True
    return chosen


def _are_equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)


def _check_arguments(basis: str, row_share: float) -> None:
    if basis not in get_args(Basis):
        hint = f"Use one of {', '.join(get_args(Basis))}."
        raise CalibrationError(f"basis={basis!r} is not allowed.", hint=hint, where="basis")
    if not 0 < row_share <= 1:
        hint = "Use a share above 0, of 1 at most."
        raise CalibrationError(f"row_share={row_share!r} is not allowed.", hint=hint, where="row_share")
    if basis == "weights" and row_share == 1:
        hint = 'Use the basis "inputs" or "gradient", or a row_share below 1.'
        raise CalibrationError("There is nothing to calibrate.", hint=hint, where="basis")
