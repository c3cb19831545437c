"""Report on the spectrum of a model: singular values of its weights, and where the energy of its rows lies.

The energy of a set of directions is the sum of squares that it catches: of a weight, of a layer's inputs, or of the
loss's gradient of the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pydantic import BaseModel, ConfigDict

from adamss_core.spec.budget import GOOD_WIDTH

ROWS = 128  # half for the bases, half to measure on
MOST_R = 512  # of the bases whose energy is measured: sketches and bases of a model of 1B take some gigabytes
LEADING = 16  # singular values that are listed
CATCHES = 0.9  # share of the gradient that a hint on r asks for
HINTED = 3  # kinds of modules that a hint names
MEASURED = (
    "Measured with MiniLM on reviews and tweets (docs/quality.md): the default targets, one subspace, the basis of the "
    "inputs and r a third of the width were within 0.9 points of a LoRA of rank 1 at 67 % of its elements."
)
ONLY_A_HINT = "The energy of the first gradient predicted little in what was measured: try it, do not trust it."


class CaughtEnergy(BaseModel):
    """Share of an energy that the leading r directions of each basis catch, for each r of the module's `ranks`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    weights: list[float]
    """Basis of the weight, as `basis: weights` takes it."""
    inputs: list[float]
    """Basis of the inputs, from other rows than those that the energy is measured on."""
    gradient: list[float]
    """Basis of the gradient, from other rows likewise."""


class ModuleSpectrum(BaseModel):
    """Spectrum of one linear layer's [W | b]."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """Name of the module."""
    out_features: int
    """Rows of the weight."""
    in_features: int
    """Columns of the weight, the bias left out."""
    singular_values: list[float]
    """The leading singular values, at most 16."""
    stable_rank: float
    """Sum of the squared singular values, divided by the largest of them."""
    widths: list[int]
    """r of 1, 2, 4 and so on, and the smaller dimension of [W | b]."""
    energy: list[float]
    """Share of the weight's own energy in as many leading directions, for each of `widths`."""
    ranks: list[int] = []
    """r of `inputs` and `gradient`; empty without a data set."""
    inputs: CaughtEnergy | None = None
    """Share of the energy of the layer's inputs; null without a data set, and where no row reached the layer."""
    gradient: CaughtEnergy | None = None
    """Share of the energy of the loss's gradient of the weight; null likewise."""
    gradient_share: float | None = None
    """Part of this module in the gradient's energy over all modules."""


class SpectrumSuggestion(BaseModel):
    """Settings to begin with."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    targets: list[str] | None
    """Names for `adamss.target_modules`: the model type's default; null where it has none."""
    r: int
    """Value for `adamss.r`."""
    num_subspaces: int = 1
    """Value for `adamss.num_subspaces`."""
    basis: str = "inputs"
    """Value for `adamss.basis`."""
    measured: str
    """Measurement that the values above rest on."""
    hints: list[str]
    """Readings of this model's own numbers, which no measurement confirms."""


class SpectrumReport(BaseModel):
    """Spectrum of a base model's linear layers, and of a data set's rows in them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    modules: list[ModuleSpectrum]
    """Linear layers that can be adapted, in the model's order."""
    suggestion: SpectrumSuggestion
    """Settings to begin with, and what they rest on."""
    basis_rows: int | None = None
    """Rows that the bases of inputs and gradient were taken from; null without a data set."""
    measured_rows: int | None = None
    """Other rows, that the energies were measured on."""
    seconds: float
    """Time that it took."""


def ranks_to(most: int) -> list[int]:
    """Return the powers of two up to `most`."""
    return [2**power for power in range(most.bit_length())]


def report(
    modules: Sequence[ModuleSpectrum],
    default_targets: Sequence[str] | None,
    *,
    seconds: float,
    basis_rows: int | None = None,
    measured_rows: int | None = None,
) -> SpectrumReport:
    """Put the modules' spectra together with what they suggest."""
    total = sum(module.gradient_share or 0.0 for module in modules)
    if total:  # energies until here
        modules = [_with_share(module, total) for module in modules]
    return SpectrumReport(
        modules=list(modules),
        suggestion=_suggestion(modules, default_targets),
        basis_rows=basis_rows,
        measured_rows=measured_rows,
        seconds=seconds,
    )


def _with_share(module: ModuleSpectrum, total: float) -> ModuleSpectrum:
    share = None if module.gradient_share is None else module.gradient_share / total
    return module.model_copy(update={"gradient_share": share})


def _suggestion(modules: Sequence[ModuleSpectrum], default_targets: Sequence[str] | None) -> SpectrumSuggestion:
    targets = [module for module in modules if _is_named(module.name, default_targets or ())] or list(modules)
    widest = max((module.widths[-1] for module in targets), default=1)
    hints = [_stable_ranks(targets)] if targets else []
    if any(module.gradient is not None for module in targets):
        hints += [_caught(targets), _where_the_gradient_is(modules), ONLY_A_HINT]
    return SpectrumSuggestion(
        targets=None if default_targets is None else list(default_targets),
        r=-(-widest // GOOD_WIDTH),
        measured=MEASURED,
        hints=hints,
    )


def _stable_ranks(targets: Sequence[ModuleSpectrum]) -> str:
    middle = median(module.stable_rank for module in targets)
    return (
        f"The median stable rank of the targets is {middle:.0f}: the leading directions of a weight say how it acts, "
        "not how the loss would change it."
    )


def _caught(targets: Sequence[ModuleSpectrum]) -> str:
    """Say which r catches most of the gradient in the basis of the inputs, over the targets."""
    reached = [_first(module, CATCHES) for module in targets if module.gradient is not None]
    found = [r for r in reached if r is not None]
    if len(found) * 2 <= len(reached):
        return f"In most targets no r up to {MOST_R} catches {CATCHES:.0%} of the gradient in the basis of the inputs."
    return (
        f"In half of the targets r {int(median(found))} of the inputs' basis catches {CATCHES:.0%} of the gradient's "
        "energy."
    )


def _first(module: ModuleSpectrum, share: float) -> int | None:
    caught = [] if module.gradient is None else module.gradient.inputs
    return next((r for r, value in zip(module.ranks, caught, strict=True) if value >= share), None)


def _where_the_gradient_is(modules: Sequence[ModuleSpectrum]) -> str:
    """Name the kinds of modules with the most gradient energy for each element that a LoRA of rank 1 would have."""
    energies: dict[str, float] = {}
    elements: dict[str, int] = {}
    for module in modules:
        kind = module.name.rpartition(".")[2]
        energies[kind] = energies.get(kind, 0.0) + (module.gradient_share or 0.0)
        elements[kind] = elements.get(kind, 0) + module.in_features + module.out_features
    order = sorted(energies, key=lambda kind: energies[kind] / elements[kind], reverse=True)[:HINTED]
    shown = ", ".join(f"{kind} ({energies[kind]:.0%})" for kind in order)
    return f"The gradient has most energy for each element of a LoRA in {shown}."


def _is_named(name: str, targets: Sequence[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)
