"""What the estimate says of the LoRA is what the export then writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from peft import AdamssConfig, PeftModel
from safetensors.torch import load_file

from adamss_core import export_lora, get_adamss_model
from adamss_core.spec import Estimate, JobSpec, estimate, make_plan, match_targets, total_subspaces
from adamss_core.spec.estimate import FILE_OVERHEAD
from tests.adamss_core.spec.test_targets import DATA, facts_of
from tests.adamss_core.support import give_effect
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
    return give_effect(get_adamss_model(tiny_bert(), fields, bias=spec.adamss.bias))


@pytest.mark.parametrize("bias", ["trained", "frozen"])
def test_size_and_biases(bias: str, tmp_path: Path) -> None:
    spec, found = planned(bias=bias)
    manifest = export_lora(adapted(spec), tmp_path)
    assert found.lora_bias is manifest["lora_bias"] is (bias == "trained")
    tensors = load_file(tmp_path / "adapter_model.safetensors").values()
    assert found.artifact_bytes.lora == FILE_OVERHEAD + 4 * sum(tensor.numel() for tensor in tensors)
