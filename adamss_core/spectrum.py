"""Measure spectra: singular values of weights, and the energy of inputs and gradients that directions catch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import torch
from torch import Tensor

from adamss_core.basis_sketch import BasisSketch, extend
from adamss_core.calibration import Basis
from adamss_core.decomposition import check_weight, extended_weight
from adamss_core.layer import AdamssLayer
from adamss_core.layer_watch import LayerWatch
from adamss_core.spec.spectrum_report import LEADING, CaughtEnergy, ModuleSpectrum, ranks_to

MEASURING_R = 96  # makes sketches of wide layers 256 columns wide
BASES: tuple[Basis, ...] = get_args(Basis)


def weight_spectrum(name: str, weight: Tensor, bias: Tensor | None) -> ModuleSpectrum:
    """Return the singular values of [W | b] and the energy that leading directions have.

    They are roots of the eigenvalues of the smaller Gram matrix, in fp32: a quarter of the time of an SVD, and exact to
    about 1e-4 of the largest, which is nothing of the energy.

    Args:
        weight: (out, in), any float dtype.

    Raises:
        WeightError: NaN, infinite or all-zero weight.
    """
    extended = extended_weight(weight, bias)  # (out, in[+1])
    check_weight(name, extended)
    scale = extended.abs().max().item()
    extended = extended / scale  # no square overflows
    gram = extended @ extended.t() if extended.shape[0] <= extended.shape[1] else extended.t() @ extended
    squared = torch.linalg.eigvalsh(gram).flip(0).clamp(min=0).double().cpu()  # descending
    widths = [*ranks_to(len(squared) - 1), len(squared)]
    return ModuleSpectrum(
        name=name,
        out_features=weight.shape[0],
        in_features=weight.shape[1],
        singular_values=(squared[:LEADING].sqrt() * scale).tolist(),
        stable_rank=float(squared.sum() / squared[0]),
        widths=widths,
        energy=_shares(squared, float(squared.sum()), widths),
    )


class EnergyMeasurement(LayerWatch):
    """Context manager that measures, over the rows that pass a model, the energy that the directions of bases catch.

    Rows must be others than those that the bases were taken from: a basis fits its own rows better.

    Args:
        layers: adapted layers by name; the basis of the adapter is the weight's.
        bases: kind of basis -> layer -> directions as rows, (r, columns), of "inputs" and "gradient".
        seed: of the sketches of wide gradients; another than that of the bases.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        layers: Mapping[str, AdamssLayer],
        adapter: str,
        bases: Mapping[Basis, Mapping[str, Tensor]],
        *,
        seed: int,
    ) -> None:
        self._directions: dict[str, Tensor] = {}  # (3 r, columns)
        self._gradients: dict[str, BasisSketch] = {}
        for name, layer in layers.items():
            if all(name in found for found in bases.values()):
                columns = bases["inputs"][name].shape[1]  # without that of a bias of zeros
                weights = layer.adamss_newB[adapter][:, :columns]
                parts = [weights if kind == "weights" else bases[kind][name] for kind in BASES]
                self._directions[name] = torch.cat([part[: min(map(len, parts))] for part in parts])
                self._gradients[name] = BasisSketch(
                    columns, layer.out_features, MEASURING_R, seed=seed, device=weights.device
                )
        self._inputs = {name: part.new_zeros(len(part)) for name, part in self._directions.items()}
        self._totals = {name: part.new_zeros(()) for name, part in self._directions.items()}
        watched = {name: layers[name] for name in self._directions}
        super().__init__(model, watched, self._add_input, self._add_gradient)

    def _add_input(self, name: str, x: Tensor) -> None:
        directions = self._directions[name]
        tokens = extend(self.without_padding(x).float(), directions.shape[1])
        with torch.autocast(x.device.type, enabled=False):
            self._inputs[name] += (tokens @ directions.t()).square().sum(0)
        self._totals[name] += tokens.square().sum()

    def _add_gradient(self, name: str, tokens: Tensor, gradient: Tensor) -> None:
        self._gradients[name].value += self._gradients[name].product(tokens, gradient)

    def spectrum(self, of_weight: ModuleSpectrum) -> ModuleSpectrum:
        """Return a layer's spectrum with what was measured; `gradient_share` is its energy until all are known."""
        name = of_weight.name
        if name not in self._directions:
            return of_weight
        directions, sketch = self._directions[name], self._gradients[name]
        r = len(directions) // len(BASES)
        of_gradient = (directions @ sketch.value).square().sum(1)
        total = sketch.value.square().sum()
        return of_weight.model_copy(
            update={
                "ranks": ranks_to(r),
                "inputs": _caught(self._inputs[name], self._totals[name], r),
                "gradient": _caught(of_gradient, total, r),
                "gradient_share": sketch.energy(),
            }
        )


def _caught(energies: Tensor, total: Tensor, r: int) -> CaughtEnergy | None:
    """Return the shares of each basis' leading directions, from the energies of all directions, (3 r,)."""
    if not total > 0:
        return None
    parts = energies.double().cpu().split(r)
    shares = {kind: _shares(part, float(total), ranks_to(r)) for kind, part in zip(BASES, parts, strict=True)}
    return CaughtEnergy(**shares)


def _shares(energies: Tensor, total: float, ranks: list[int]) -> list[float]:
    caught = energies.cumsum(0) / total
    return [min(1.0, float(caught[rank - 1])) for rank in ranks]
