"""Start-up: decomposing one layer, and starting a second adapter from the decomposition cache."""

from __future__ import annotations

import statistics
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.adamss.layer import Linear as StockLinear
from torch import nn

from adamss_core import get_adamss_model
from adamss_core.config import DEFAULT_ADAPTER
from adamss_core.decomposition import decompose
from adamss_core.linear import AdamssLinear
from benchmarks.report import Limit, Section
from benchmarks.timing import Step, interleaved, quiet, typical
from benchmarks.training_step import TARGETS, Encoder
from benchmarks.variants import Shape, adamss_config, frozen_linear


def stock_layer(linear: nn.Linear, shape: Shape) -> nn.Module:
    """Build stock PEFT's adapted layer, decomposition included."""
    config = adamss_config(shape)
    layer: nn.Module = StockLinear(linear, DEFAULT_ADAPTER, r=config.r, config=config)
    return layer


def our_layer(linear: nn.Linear, shape: Shape, cache: Path | None = None) -> AdamssLinear:
    """Build our adapted layer, decomposition and weight sketch included."""
    config = adamss_config(shape)
    layer = AdamssLinear(linear, "layer")
    decomposition = decompose("layer", layer.base_weight(), layer.base_bias(), config, cache)
    layer.update_layer(DEFAULT_ADAPTER, decomposition, zero_b=True, use_asa=False, inference_mode=False)
    return layer


def decomposition(hiddens: Sequence[int], subspaces: Sequence[int], rounds: int) -> Section:
    """Time the adaptation of a layer."""
    section = Section(
        "(f) start-up of one layer, from the frozen linear to the adapted one (r=100)",
        ["hidden", "K", "PEFT ms", "ours ms", "ours/PEFT", "from the cache ms", "times faster"],
        notes=["'times faster': from the cache against without one; entries are read from disk and checked."],
    )
    for hidden in hiddens:
        linear = frozen_linear(hidden)
        for number in subspaces:
            shape = Shape(hidden, number, 1)
            with tempfile.TemporaryDirectory() as folder:
                cache = Path(folder)
                first = our_layer(linear, shape, cache)
                again = our_layer(linear, shape, cache)
                assert _equal(first, again), "the cache changed the adapter"
                times = interleaved(
                    {
                        "peft": Step(lambda linear=linear, shape=shape: stock_layer(linear, shape)),  # type: ignore[misc]
                        "ours": Step(lambda linear=linear, shape=shape: our_layer(linear, shape)),  # type: ignore[misc]
                        "cached": Step(
                            lambda linear=linear, shape=shape, cache=cache: our_layer(linear, shape, cache)  # type: ignore[misc]
                        ),
                    },
                    rounds=rounds,
                )
            ratio = _ratio(times, "ours", "peft")
            stock, ours, cached = (typical(times[name]) * 1e3 for name in ("peft", "ours", "cached"))
            section.rows.append([hidden, number, stock, ours, ratio, cached, _ratio(times, "ours", "cached")])
    section.limits += [
        Limit("ours/PEFT, largest", max(row[4] for row in section.rows), 1.0),
        Limit("from the cache, times faster, smallest", min(row[6] for row in section.rows), 10.0, at_least=True),
    ]
    return section


def second_adapter(encoder: Encoder, subspaces: int, rounds: int) -> Section:
    """Time a whole model's second adapter, from the cache, against its first."""
    section = Section(
        f"(f) get_adamss_model of an encoder with {encoder.layers} layers, {encoder.hidden} wide (query and value)",
        ["K", "first ms", "second, from the cache ms", "times faster"],
    )
    config = {"target_modules": TARGETS, "task_type": "SEQ_CLS"}
    base: list[nn.Module] = []

    def build(cache: Path | None) -> PeftModel:
        return get_adamss_model(
            base.pop(), adamss_config(Shape(encoder.hidden, subspaces, 1), **config), decomposition_cache=cache
        )

    def prepare() -> None:
        base[:] = [encoder.build()]

    with tempfile.TemporaryDirectory() as folder:
        models = []
        for _ in range(2):
            prepare()
            models.append(build(Path(folder)))
        assert _equal(*models), "the cache changed the adapter"
        times = interleaved(
            {
                "first": Step(lambda: build(None), prepare),
                "second": Step(lambda: build(Path(folder)), prepare),
            },
            rounds=rounds,
        )
    faster = _ratio(times, "first", "second")
    section.rows.append([subspaces, typical(times["first"]) * 1e3, typical(times["second"]) * 1e3, faster])
    section.limits.append(Limit("second adapter, times faster", faster, 10.0, at_least=True))
    return section


def _ratio(times: dict[str, list[float]], variant: str, other: str) -> float:
    pairs = zip(quiet(times[variant]), quiet(times[other]), strict=True)
    return statistics.median(own / reference for own, reference in pairs)


def _equal(first: nn.Module, second: nn.Module) -> bool:
    """Whether all tensors of two modules are bit-identical."""
    tensors: list[dict[str, Any]] = [first.state_dict(), second.state_dict()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tensors[0].keys() == tensors[1].keys() and all(
            torch.equal(t, tensors[1][n]) for n, t in tensors[0].items()
        )
