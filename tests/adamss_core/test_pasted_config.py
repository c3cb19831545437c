"""Whatever adapter_config.json stock PEFT writes is taken, by spec and library, with a word on what is idle."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdamssConfig, get_peft_model

from adamss_core import get_adamss_model
from adamss_core.errors import AdamssWarning
from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.without_effect import idle_settings
from tests.adamss_core.support import layers_of
from tests.models import tiny_bert

ASA: dict[str, Any] = {"use_asa": True, "init_warmup": 2, "final_warmup": 8, "mask_interval": 2}
Case = tuple[Any, dict[str, Any], str]  # a value, further fields, and what is said of them

# Values of each field that stock PEFT takes. A field that PEFT adds later fails `test_every_field_has_a_case`.
CASES: dict[str, list[Case]] = {
    "task_type": [(None, {}, ""), ("SEQ_CLS", {}, ""), ("FEATURE_EXTRACTION", {}, "")],
    "peft_type": [("ADAMSS", {}, "")],
    "auto_mapping": [({"base_model_class": "BertModel", "parent_library": "transformers"}, {}, "")],
    "peft_version": [("0.19.1@UNKNOWN", {}, "")],
    "base_model_name_or_path": [("org/name", {}, ""), ("/home/me/models/bert", {}, "")],
    "revision": [("main", {}, "")],
    "inference_mode": [(True, {}, ""), (False, {}, "")],
    "r": [(1, {}, ""), (16_384, {}, "")],
    "num_subspaces": [(1, {}, ""), (32, {}, "")],
    "subspace_rank": [(1, {}, ""), (9, {}, "")],
    "target_modules": [(["query", "value"], {}, ""), ("all-linear", {}, ""), (r".*\.(query|key)$", {}, "")],
    "init_weights": [("orthogonal", {}, ""), (None, {}, ""), (False, {}, "")],
    "modules_to_save": [([], {}, ""), (["LayerNorm"], {}, ""), (["classifier", "pooler"], {}, "")],
    "layers_to_transform": [(0, {}, ""), ([0, 1], {}, ""), ([], {}, "")],
    "layers_pattern": [
        ("layer", {}, "layers_pattern has no effect without layers_to_transform"),
        (["layer"], {"layers_to_transform": [1]}, ""),
    ],
    "use_asa": [(True, ASA, ""), (False, ASA | {"use_asa": False}, "no effect while use_asa is false")],
    "asa_target_subspaces": [(10_000, ASA, ""), (0, {}, "no effect while use_asa is false")],
    "init_warmup": [(0, ASA, ""), (-5, {}, "no effect while use_asa is false")],
    "final_warmup": [(9, ASA, ""), (0, {}, "no effect while use_asa is false")],
    "mask_interval": [(6, ASA, ""), (0, {}, "no effect while use_asa is false")],
    "asa_importance_beta": [(1.0, ASA, "pruning keeps the first ones"), (1.0, {}, "while use_asa is false")],
    "asa_uncertainty_beta": [(1.0, ASA, "asa_uncertainty_beta is 1"), (0.0, ASA, "")],
    "asa_schedule_exponent": [(1.0, ASA, ""), (-1.0, {}, "no effect while use_asa is false")],
    "use_dynamic_rank": [
        (True, {}, "use_dynamic_rank has no effect with subspace_rank 1"),
        (True, {"subspace_rank": 3}, ""),
    ],
    "svd_threshold": [
        (1.5, {}, "svd_threshold has no effect while use_dynamic_rank is false"),
        (1.0, {"use_dynamic_rank": True, "subspace_rank": 3}, "each rank is 1"),
    ],
    "random_seed": [(7, {}, "")],
}
FLAT = [(field, *case) for field, cases in CASES.items() for case in cases]


def test_every_field_has_a_case() -> None:
    assert [field.name for field in dataclasses.fields(AdamssConfig)] == list(CASES)


@pytest.mark.filterwarnings("ignore:The PEFT config's `base_model_name_or_path`")
@pytest.mark.parametrize(("field", "value", "others", "says"), FLAT, ids=lambda part: str(part)[:40])
def test_what_peft_writes_is_taken(field: str, value: Any, others: dict[str, Any], says: str, tmp_path: Path) -> None:
    fields = {"target_modules": ["query"], "r": 8, **others, field: value}
    written = AdamssConfig(**{name: entry for name, entry in fields.items() if name != "peft_type"})
    get_peft_model(tiny_bert(), AdamssConfig(**{name: v for name, v in fields.items() if name != "peft_type"}))
    written.save_pretrained(str(tmp_path))
    pasted = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    spec = AdamssSpec.model_validate(pasted)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AdamssWarning)
        get_adamss_model(tiny_bert(), written)
    if says:
        assert any(says in message for message in idle_settings(spec))
        assert any(says in str(warning.message) for warning in caught)
    elif field not in ("use_dynamic_rank", "svd_threshold"):
        assert idle_settings(spec) == []


@pytest.mark.filterwarnings("ignore:asa_importance_beta is 1")
def test_a_beta_of_one_keeps_the_first_subspaces() -> None:
    fields = {**ASA, "asa_importance_beta": 1.0, "asa_target_subspaces": 4, "target_modules": ["query"], "r": 8}
    model = get_adamss_model(tiny_bert(), AdamssConfig(**fields))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(1, 9):
        model(input_ids=torch.arange(8)[None]).logits.sum().backward()
        model.base_model.update_and_allocate(step)
        optimizer.step()
        optimizer.zero_grad()
    states = [layer.asa_state("default") for layer in layers_of(model).values()]
    active = torch.cat([state.active for state in states if state is not None])
    assert active.tolist() == [True] * 4 + [False] * 6
