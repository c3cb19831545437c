"""Spectra of weights, and the energy that bases catch, beside plain decompositions of everything at once."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from adamss_core import get_adamss_model
from adamss_core.calibration import Basis, Calibration
from adamss_core.errors import WeightError
from adamss_core.spec.spectrum_report import CaughtEnergy, ranks_to, report
from adamss_core.spectrum import EnergyMeasurement, weight_spectrum
from tests.adamss_core.support import layers_of, mlp_config
from tests.models import Mlp

R = 6
OF_ROWS: list[Basis] = ["inputs", "gradient"]


@pytest.mark.parametrize("shape", [(20, 12), (9, 30)])
def test_singular_values_are_those_of_an_svd(shape: tuple[int, int]) -> None:
    weight, bias = torch.randn(shape) * 100, torch.randn(shape[0])
    found = weight_spectrum("a", weight.bfloat16(), bias)
    values = torch.linalg.svdvals(torch.cat([weight.bfloat16().float(), bias[:, None]], dim=1).double())
    assert found.singular_values == pytest.approx(values[:16].tolist(), rel=1e-3)
    assert found.stable_rank == pytest.approx(float(values.square().sum() / values[0] ** 2), rel=1e-4)
    assert found.widths == [1, 2, 4, 8, len(values)]
    shares = values.square().cumsum(0) / values.square().sum()
    assert found.energy == pytest.approx([float(shares[width - 1]) for width in found.widths], rel=1e-4)


def test_a_weight_without_a_spectrum_is_refused_by_name() -> None:
    with pytest.raises(WeightError, match="'query'"):
        weight_spectrum("query", torch.full((3, 3), torch.nan), None)


def rows(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(40, 32, generator=generator) * torch.linspace(2, 0.1, 32)


def test_energies_are_those_of_all_inputs_and_of_the_whole_gradient() -> None:
    model = get_adamss_model(Mlp(), mlp_config(r=R, num_subspaces=1)).eval()
    bases: dict[Basis, dict[str, Tensor]] = {}
    for basis in OF_ROWS:
        with Calibration(model, basis) as calibration:
            loss = model(rows(1)).square().sum()
            if calibration.needs_backward:
                loss.backward()
        bases[basis] = calibration.bases()
    layers = layers_of(model)
    with EnergyMeasurement(model, layers, "default", bases, seed=1) as measured:
        for part in rows(2).split(15):
            model(part).square().sum().backward()
    plain, x = copy.deepcopy(Mlp()), rows(2)
    plain(x).square().sum().backward()
    assert plain.first.weight.grad is not None
    assert plain.first.bias.grad is not None
    gradient = torch.cat([plain.first.weight.grad, plain.first.bias.grad[:, None]], dim=1)
    extended = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    found = measured.spectrum(weight_spectrum("first", plain.first.weight, plain.first.bias))
    assert found.ranks == [1, 2, 4]
    every = {"weights": layers["first"].adamss_newB["default"]} | {kind: bases[kind]["first"] for kind in OF_ROWS}
    for kind, directions in every.items():
        for energy, values in ((found.inputs, extended), (found.gradient, gradient)):
            caught = [float((values @ directions[:r].t()).square().sum() / values.square().sum()) for r in (1, 2, 4)]
            assert getattr(energy, kind) == pytest.approx(caught, rel=1e-4)
    assert found.gradient_share == pytest.approx(float(gradient.square().sum()), rel=1e-4)
    assert found.gradient is not None
    assert found.gradient.gradient[-1] > found.gradient.weights[-1]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_report_shares_out_the_gradient_and_tells_measured_from_hinted() -> None:
    names = ["encoder.layer.0.query", "encoder.layer.0.dense"]
    spectra = [weight_spectrum(name, torch.randn(12, 12), None) for name in names]
    plain = report(spectra, ["query"], seconds=1.0)
    assert (plain.suggestion.targets, plain.suggestion.r) == (["query"], 4)
    assert "docs/quality.md" in plain.suggestion.measured
    assert [module.gradient_share for module in plain.modules] == [None, None]
    assert len(plain.suggestion.hints) == 1
    caught = {"weights": [0.1, 0.2, 0.3], "inputs": [0.5, 0.95, 1.0], "gradient": [0.9, 1.0, 1.0]}
    more = [
        spectrum.model_copy(update={"ranks": ranks_to(4), "gradient": CaughtEnergy(**caught), "gradient_share": share})
        for spectrum, share in zip(spectra, (1.0, 3.0), strict=True)
    ]
    whole = report(more, ["query"], seconds=1.0, basis_rows=2, measured_rows=2)
    assert [module.gradient_share for module in whole.modules] == [0.25, 0.75]
    _, r, where, warning = whole.suggestion.hints
    assert "r 2 of the inputs' basis catches 90%" in r
    assert "dense (75%), query (25%)" in where
    assert "predicted little" in warning
