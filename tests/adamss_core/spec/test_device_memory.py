"""Memory of each of several devices, with a copy of the base or a part of it, and the number that suffices."""

from __future__ import annotations

from typing import Any

import pytest

from adamss_core.spec import Device, Estimate, JobSpec, Lengths, estimate, make_plan
from tests.adamss_core.spec.test_memory import SMOLLM2

MODULES = [module for module in SMOLLM2.linear_modules if module.name.endswith(("query", "value"))]
WEIGHTS = 4 * SMOLLM2.parameters
BLOCKS = 4 * sum(module.in_features * module.out_features for module in SMOLLM2.linear_modules)


def planned(largest: int | None = None, training: dict[str, Any] | None = None, **fields: Any) -> Estimate:
    spec = JobSpec.model_validate(
        {
            "name": "x",
            "task": "text-generation",
            "base_model": "x",
            "dataset": {"train": "ds_" + "a" * 8},
            "training": {"batch_size": 8, "max_length": 128, "precision": "fp32"} | (training or {}),
        }
        | fields
    )
    lengths = Lengths(source="measured", counts=[(128, 300)])
    plan = make_plan(spec, 270, 120)
    return estimate(plan, SMOLLM2, MODULES, 2, 270, 30, lengths=lengths, device=Device("cuda"), largest=largest)


def on(devices: int, **fields: Any) -> Estimate:
    return planned(resources={"devices": devices, **fields})


def test_copies_divide_the_rows_and_parts_the_blocks_too() -> None:
    one, two, parts = on(1), on(2), on(2, shard=True)
    assert (one.sharded, two.sharded, parts.sharded) == (False, False, True)
    assert one.least_memory_bytes == two.least_memory_bytes
    activations = 2 * (one.memory_bytes - two.memory_bytes)  # of all rows
    assert WEIGHTS < one.memory_bytes - activations < 1.2 * WEIGHTS
    # Half of the blocks, and two whole ones: one computes while the next arrives.
    assert two.memory_bytes - parts.memory_bytes == BLOCKS - BLOCKS // 2 - 2 * BLOCKS // 30
    eight = on(8, shard=True)
    assert eight.memory_bytes < parts.memory_bytes < two.memory_bytes


def test_auto_divides_where_a_copy_does_not_fit() -> None:
    two, parts = on(2), on(2, shard=True)
    roomy = planned(two.memory_bytes, resources={"devices": 2})
    narrow = planned(two.memory_bytes - 1, resources={"devices": 2})
    assert (roomy.sharded, roomy.memory_bytes) == (False, two.memory_bytes)
    assert (narrow.sharded, narrow.memory_bytes) == (True, parts.memory_bytes)
    copies = planned(two.memory_bytes - 1, resources={"devices": 2, "shard": False})
    assert (copies.sharded, copies.memory_bytes) == (False, two.memory_bytes)
    assert not on(2).sharded  # no memory is known


def test_the_fewest_devices_that_suffice_are_named() -> None:
    one, two, four = on(1), on(2), on(4, shard=True)
    least = one.least_memory_bytes
    assert least is not None
    assert planned(one.memory_bytes).enough_devices == 1
    assert planned(two.memory_bytes).enough_devices == 2
    parts = planned(four.memory_bytes).enough_devices  # below what a copy takes with one row at a time
    assert parts is not None
    assert 2 < parts <= 4
    assert on(parts, shard=True).memory_bytes <= four.memory_bytes
    assert planned(four.memory_bytes, resources={"shard": False}).enough_devices is None
    assert planned(WEIGHTS // 8).enough_devices is None  # embeddings are not divided


@pytest.mark.parametrize(
    "fields", [{"training": {"quantization": "4bit"}}, {"training": {"compile": True}}, {"compare": ["lora:r=1"]}]
)
def test_some_jobs_hold_copies_whatever_fits(fields: dict[str, Any]) -> None:
    found = planned(1, resources={"devices": 2}, **fields)
    assert (found.sharded, found.enough_devices) == (False, None)
    with pytest.raises(ValueError, match=r"is true, but (training\.quantization|training\.compile|compare) is set"):
        planned(resources={"devices": 2, "shard": True}, **fields)
