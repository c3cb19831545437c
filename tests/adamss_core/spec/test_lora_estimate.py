"""What the estimate says of the LoRA is what the export then writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdamssConfig, PeftModel
from safetensors.torch import load_file

from adamss_core import export_lora, get_adamss_model, save_adapter
from adamss_core.spec import Estimate, JobSpec, estimate, make_plan, match_targets, total_subspaces
from adamss_core.spec.estimate import FILE_OVERHEAD
from tests.adamss_core.spec.test_targets import DATA, facts_of
from tests.adamss_core.support import ASA, give_effect, prune_half
from tests.models import tiny_bert

FIELDS = {"r": 20, "num_subspaces": 4, "target_modules": ["query", "value"]}


def planned(**fields: Any) -> tuple[JobSpec, Estimate]:
    facts = facts_of(tiny_bert())
    job = {"name": "x", "base_model": "tiny", "dataset": DATA, "adamss": FIELDS | fields}
    spec = JobSpec.model_validate(job)
    modules = match_targets(spec.adamss, facts)
    plan = make_plan(spec, 1000, total_subspaces(modules, spec.adamss))
    return plan.spec, estimate(plan, facts, modules, labels=2, train_rows=1000, eval_rows=10)


def adapted(spec: JobSpec) -> PeftModel:
    fields = AdamssConfig(**spec.adamss.config_fields(), task_type="SEQ_CLS")
    settings: dict[str, Any] = {"bias": spec.adamss.bias, "asa_pruned": spec.adamss.asa_pruned}
    return give_effect(get_adamss_model(tiny_bert(), fields, **settings))


def elements(folder: Path) -> int:
    """Elements of what stock PEFT reads, and of the rows; sketches and ASA's state are part of the overhead."""
    tensors = load_file(folder / "adapter_model.safetensors")
    return sum(
        value.numel() for name, value in tensors.items() if not name.endswith("sketch") and ".adamss_asa." not in name
    )


@pytest.mark.parametrize("bias", ["trained", "frozen"])
def test_size_and_biases(bias: str, tmp_path: Path) -> None:
    spec, found = planned(bias=bias)
    manifest = export_lora(adapted(spec), tmp_path)
    assert found.lora_bias is manifest["lora_bias"] is (bias == "trained")
    assert found.artifact_bytes.lora == FILE_OVERHEAD + 4 * elements(tmp_path)
    assert found.lora_rank == found.least_lora_rank == manifest["rank"] == 4


@pytest.mark.parametrize("target", [1, 2, 5, 15])
@pytest.mark.parametrize("pruned", ["frozen", "removed"])
def test_rank_and_sizes_after_pruning(pruned: str, target: int, tmp_path: Path) -> None:
    """Frozen subspaces take what they took; of removed ones it is not known beforehand in which modules they are."""
    spec, found = planned(**ASA | {"asa_pruned": pruned, "asa_target_subspaces": target})
    model = adapted(spec)
    prune_half(model, torch.optim.SGD(model.parameters(), lr=0.1))
    rank = export_lora(model, tmp_path / "lora")["rank"]
    save_adapter(model, tmp_path / "adapter", leave_out_emptied=True)  # as it is published
    assert found.least_lora_rank is not None
    assert found.lora_rank is not None
    assert found.least_lora_rank <= rank <= found.lora_rank
    lora, adapter = (FILE_OVERHEAD + 4 * elements(tmp_path / name) for name in ("lora", "adapter"))
    sizes = found.artifact_bytes
    assert sizes.lora is not None
    assert sizes.adapter is not None
    if pruned == "frozen":
        assert (sizes.lora, sizes.adapter, found.lora_rank) == (lora, adapter, 4)
    else:
        assert lora <= sizes.lora
        assert adapter <= sizes.adapter
        assert (found.least_lora_rank, found.lora_rank) == (-(-target // 4), min(target, 4))


def test_the_last_of_many_may_be_in_any_module() -> None:
    """Of 32 ranks in each of four modules, two subspaces of rank 3 may be left in one."""
    _, found = planned(**ASA | {"asa_pruned": "removed", "asa_target_subspaces": 2, "subspace_rank": 3})
    assert (found.least_lora_rank, found.lora_rank) == (1, 6)
