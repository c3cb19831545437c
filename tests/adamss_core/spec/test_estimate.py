"""What changes the memory that a job is said to need."""

from __future__ import annotations

from typing import Any

import pytest

from adamss_core.spec import Device, Estimate, JobSpec, LinearModule, ModelFacts, estimate, make_plan
from adamss_core.spec.estimate import GPU

VOCABULARY, WIDTH, BLOCKS = 1_000, 64, 4


def memory(task: str = "text-generation", **training: Any) -> int:
    names = [f"model.layers.{block}.{name}" for block in range(BLOCKS) for name in ("self_attn.q_proj", "mlp.up_proj")]
    shape: dict[str, Any] = {"kind": "Linear", "in_features": WIDTH, "out_features": WIDTH, "bias": False}
    linear = [LinearModule(name=name, **shape) for name in names]
    facts = ModelFacts(
        model_type="llama", parameters=10**6, linear_modules=linear, vocab_size=VOCABULARY, hidden_size=WIDTH
    )
    spec = JobSpec.model_validate(
        {
            "name": "estimate",
            "task": task,
            "base_model": "tiny",
            "dataset": {"train": "ds_" + "a" * 8},
            "training": {"batch_size": 8, "max_length": 128, "precision": "fp32", **training},
        }
    )
    plan = make_plan(spec, 100, 8)
    return estimate(plan, facts, linear[:1], 2, 100, 10).memory_bytes


def test_the_scores_of_the_vocabulary_count_where_text_is_generated() -> None:
    assert memory() - memory("text-classification") == 3 * 4 * 8 * 128 * VOCABULARY


def test_packing_changes_nothing() -> None:
    assert memory(packing=True) == memory(packing=False)


def test_what_saves_memory() -> None:
    linear = 2 * BLOCKS * WIDTH * WIDTH
    assert memory() - memory(quantization="8bit") == 3 * linear
    assert memory(quantization="4bit") < memory(quantization="8bit")
    kept = 4 * 8 * 128 * WIDTH  # bytes of one activation of the batch
    assert memory() - memory(gradient_checkpointing=True) == kept * (4 * BLOCKS - 4 - BLOCKS)


def test_mixed_precision_halves_activations_and_keeps_copies_of_the_weights() -> None:
    """As measured on a GPU (docs/gpu.md): 0.97e9 frozen parameters took 1.94 GB more than the activations explain."""
    linear, activations = 2 * BLOCKS * WIDTH * WIDTH, 4 * 8 * 128 * 2 * BLOCKS * 2 * WIDTH
    assert memory() - memory(precision="bf16") == activations // 2 - 2 * linear
    assert memory(quantization="4bit") == memory(quantization="4bit", precision="bf16")


def test_a_basis_from_rows_has_a_cost() -> None:
    for basis, cost in (("inputs", 0.7), ("gradient", 2.0)):
        found = estimated(basis)
        assert found.calibration_rows == 32
        assert found.calibration_share == pytest.approx(cost * 32 / 300)
    found = estimated("weights")
    assert (found.calibration_rows, found.calibration_share) == (None, None)


def test_sketches_count_where_they_are_more_than_optimizer_and_gradients() -> None:
    """A module of 4,097 x 4,096 keeps 4,097 x 264 for r=100; before training, so beside no moments."""
    plain, wide = estimated("weights", 4_096), estimated("inputs", 4_096)
    trained = plain.trainable_parameters
    assert wide.memory_bytes - plain.memory_bytes == 4 * (4_096 * 264 - 3 * trained)
    phases = estimated("gradient", 4_096, device=Device("cpu")).memory_phases
    assert phases is not None
    assert phases.calibration is not None
    assert phases.calibration - phases.training == 4 * 4_096 * 264


def test_rows_that_are_left_out_are_no_parameters() -> None:
    whole, half = estimated("weights"), estimated("weights", row_share=0.5)
    assert whole.trainable_parameters - half.trainable_parameters == WIDTH // 2
    assert half.least_trainable_parameters == half.trainable_parameters
    assert half.calibration_rows == 32
    most = estimated("weights", row_share=0.5, subspace_rank=3, num_subspaces=2)
    assert most.least_trainable_parameters is not None
    assert most.least_trainable_parameters < most.trainable_parameters == 2 * 3 * WIDTH + 3 * WIDTH // 2


def estimated(basis: str, width: int = WIDTH, device: Device = GPU, **adamss: Any) -> Estimate:
    module = LinearModule(name="layer", kind="Linear", in_features=width, out_features=width, bias=False)
    facts = ModelFacts(model_type="llama", parameters=10**6, linear_modules=[module], hidden_size=width)
    spec = JobSpec.model_validate(
        {
            "name": "estimate",
            "base_model": "tiny",
            "dataset": {"train": "ds_" + "a" * 8},
            "adamss": {"basis": basis, **adamss},
            "training": {"batch_size": 8},
        }
    )
    return estimate(make_plan(spec, 100, 8), facts, [module], 2, 100, 10, device=device)
