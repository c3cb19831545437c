"""The service's memory estimate for what the check measures."""

from __future__ import annotations

from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from adamss_core.inspection import task_facts
from adamss_core.spec import JobSpec, ModelFacts, estimate, make_plan, match_targets, total_subspaces
from benchmarks.gpu_check.contenders import config_of
from benchmarks.gpu_check.sizes import Base, Precision

ROWS = 1_000  # of a data set; the estimate of memory does not depend on them


def memory_of_steps(base: Base, precision: Precision, subspaces: int, r: int, quantization: str | None = None) -> int:
    """Bytes that a job on this base, batch and precision is estimated to need."""
    task = "text-classification" if base.kind == "encoder" else "text-generation"
    auto_model: Any = AutoModelForSequenceClassification if base.kind == "encoder" else AutoModelForCausalLM
    config = config_of(base)
    facts = ModelFacts(
        model_type=config.model_type,
        max_positions=base.length,
        vocab_size=base.vocabulary,
        hidden_size=base.hidden,
        **task_facts(config, auto_model, trains_head=base.kind == "encoder"),
    )
    spec = JobSpec.model_validate(
        {
            "name": "estimate",
            "task": task,
            "base_model": "random",
            "dataset": {"train": "ds_" + "0" * 12},
            "adamss": {"r": r, "num_subspaces": subspaces, "target_modules": base.targets},
            "training": {
                "batch_size": base.batch,
                "max_length": base.length,
                "precision": precision,
                "quantization": quantization,
            },
        }
    )
    return memory_of_job(spec, facts)


def memory_of_job(spec: JobSpec, facts: ModelFacts) -> int:
    facts = facts.for_task(spec.task)
    modules = match_targets(spec.adamss, facts)
    plan = make_plan(spec, ROWS, total_subspaces(modules, spec.adamss))
    return estimate(plan, facts, modules, 2, ROWS, ROWS).memory_bytes
