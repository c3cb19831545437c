"""The estimate of memory on a CPU, against peaks that `make bench-memory` measured."""

from __future__ import annotations

from typing import Any

import pytest

from adamss_core.spec import Device, Estimate, JobSpec, Lengths, LinearModule, ModelFacts, estimate, make_plan
from adamss_core.spec.facts import Activations

MEGABYTE = 2**20
SHARE = 0.25


def linear(block: str, out_features: int, in_features: int) -> LinearModule:
    return LinearModule(name=block, kind="Linear", in_features=in_features, out_features=out_features, bias=False)


def facts(blocks: int, hidden: int, wide: int, keys: int, names: tuple[str, ...], **more: Any) -> ModelFacts:
    """A transformer of equal blocks; `names` are those of query, key, value, output, and the feed-forward layers."""
    sizes = [(hidden, hidden), (keys, hidden), (keys, hidden), (hidden, hidden), (wide, hidden), (wide, hidden)]
    sizes = [*sizes[: len(names) - 1], (hidden, wide)]
    modules = [
        linear(f"layers.{block}.{name}", *size)
        for block in range(blocks)
        for name, size in zip(names, sizes, strict=True)
    ]
    return ModelFacts(model_type="x", linear_modules=modules, hidden_size=hidden, **more)


MINILM = facts(
    6,
    384,
    1_536,
    384,
    ("query", "key", "value", "output", "up", "down"),
    parameters=22_713_216,
    head_parameters_per_label=385,
    max_positions=512,
    processor_bytes=720_000,
    activations={
        "fp32": Activations(fixed=0, per_token=104_840, per_pair=858),
        "bf16": Activations(fixed=21_530_112, per_token=77_048, per_pair=861),
    },
)
SMOLLM2 = facts(
    30,
    576,
    1_536,
    192,
    ("query", "key", "value", "output", "gate", "up", "down"),
    parameters=134_515_008,
    vocab_size=49_152,
    max_positions=8_192,
    activations={
        "fp32": Activations(fixed=8_192, per_token=971_180, per_pair=128),
        "bf16": Activations(fixed=268_967_936, per_token=556_460, per_pair=68),
    },
)


def planned(base: ModelFacts, task: str, lengths: Lengths, bf16: bool = True, **training: Any) -> Estimate:
    fields = {"name": "x", "task": task, "base_model": "x", "dataset": {"train": "ds_" + "a" * 8}}
    spec = JobSpec.model_validate(fields | {"adamss": {"num_subspaces": 10}, "training": training})
    plan = make_plan(spec, 270, 120)
    modules = [module for module in base.linear_modules if module.name.endswith(("query", "value"))]
    return estimate(plan, base, modules, 2, 270, 30, lengths=lengths, device=Device("cpu", bf16))


def rows(tokens: int, trained: float = 1.0) -> Lengths:
    return Lengths(source="measured", counts=[(tokens, 300)], trained=trained)


@pytest.mark.parametrize(
    ("found", "had"),
    [
        (
            planned(MINILM, "text-classification", rows(200), max_length=128, batch_size=32, precision="fp32"),
            1_887,
        ),
        (planned(MINILM, "text-classification", rows(200), max_length=128, batch_size=32), 1_612),
        (
            planned(SMOLLM2, "text-generation", rows(156, 0.5), max_length=160, batch_size=4, precision="fp32"),
            2_592,
        ),
        (planned(SMOLLM2, "text-generation", rows(48, 0.5)), 2_539),
    ],
    ids=["MiniLM 128 x 32", "MiniLM 128 x 32, bf16", "SmolLM2 160 x 4", "chats of 50 tokens at defaults"],
)
def test_memory_is_that_of_a_real_run(found: Estimate, had: int) -> None:
    assert found.memory_bytes == pytest.approx(had * MEGABYTE, rel=SHARE)


def test_the_peak_is_that_of_the_largest_phase() -> None:
    found = planned(MINILM, "text-classification", rows(20), batch_size=4)
    phases = found.memory_phases
    assert phases is not None
    assert phases.loading < phases.training
    assert found.memory_bytes == max(phases.loading, phases.training, phases.verification)
    assert phases.verification > phases.loading + 4 * MINILM.parameters  # a second model beside the first


def test_training_ends_at_the_lowest_adapted_block() -> None:
    fields = {"name": "x", "base_model": "x", "dataset": {"train": "ds_" + "a" * 8}}
    spec = JobSpec.model_validate(fields | {"training": {"batch_size": 64, "max_length": 128}})
    plan = make_plan(spec, 270, 20)

    def training(modules: list[LinearModule]) -> int:
        phases = estimate(plan, MINILM, modules, 2, 9, 9, lengths=rows(128), device=Device("cpu")).memory_phases
        assert phases is not None
        return phases.training

    queries = [module for module in MINILM.linear_modules if module.name.endswith("query")]
    assert training(queries[-1:]) < training(queries[:1]) / 2


def test_weights_of_half_precision_are_converted() -> None:
    half = MINILM.model_copy(update={"weight_bytes": 2})
    more = [planned(base, "text-classification", rows(8), batch_size=1).memory_bytes for base in (half, MINILM)]
    assert more[0] - more[1] == 2 * MINILM.parameters


def test_a_model_without_counted_activations_is_estimated_by_its_shapes() -> None:
    unknown = MINILM.model_copy(update={"activations": None})
    found = planned(unknown, "text-classification", rows(200), max_length=128, batch_size=32, precision="fp32")
    assert found.memory_bytes > 1_000 * MEGABYTE


def test_a_gpu_has_no_phases() -> None:
    spec = JobSpec.model_validate({"name": "x", "base_model": "x", "dataset": {"train": "ds_" + "a" * 8}})
    plan = make_plan(spec, 270, 20)
    found = estimate(plan, MINILM, MINILM.linear_modules[:1], 2, 9, 9, lengths=rows(20), device=Device("cuda"))
    assert (found.memory_phases, found.device, found.batch_tokens) == (None, "cuda", 32 * 20)
