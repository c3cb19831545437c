"""Any module can be trained in full, as in stock PEFT; the estimate counts the same parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdamssConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    PreTrainedModel,
)

from adamss_core import get_adamss_model, load_adapter, merge_adapter, save_adapter
from adamss_core.errors import ConfigError
from adamss_core.fresh_modules import fresh_modules
from adamss_core.inspection import task_facts
from adamss_core.spec import (
    Estimate,
    JobSpec,
    ModelFacts,
    SpecProblem,
    check_modules_to_save,
    check_saved_apart,
    estimate,
    make_plan,
    match_targets,
    total_subspaces,
)
from adamss_core.spec.modules_in_full import apart_hint, saved_warnings
from tests.adamss_core.support import give_effect
from tests.adamss_core.test_untying import bart, t5
from tests.models import batch, tiny_bert, tiny_gpt2, tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True.")  # GPT-2's; see test_untying.py
AUTO = {
    tiny_bert: AutoModelForSequenceClassification,
    tiny_llama: AutoModelForCausalLM,
    tiny_gpt2: AutoModelForCausalLM,
}
TASKS = {tiny_bert: ("text-classification", "SEQ_CLS"), tiny_llama: ("text-generation", "CAUSAL_LM")}
TASKS[tiny_gpt2] = TASKS[tiny_llama]
TARGETS = {tiny_bert: ["query", "value"], tiny_llama: ["q_proj"], tiny_gpt2: ["c_attn"]}


def spec_of(make: Any, **adamss: Any) -> JobSpec:
    fields = {"r": 8, "num_subspaces": 2, "target_modules": TARGETS[make], **adamss}
    names = {"name": "x", "base_model": "tiny", "task": TASKS[make][0], "dataset": {"train": "ds_abcdefgh"}}
    return JobSpec.model_validate({**names, "adamss": fields})


def facts_of(make: Any) -> ModelFacts:
    config = make().config
    facts = task_facts(config, AUTO[make], trains_head=make is tiny_bert)
    return ModelFacts.model_validate({"model_type": config.model_type, **facts})


def planned(spec: JobSpec, facts: ModelFacts) -> Estimate:
    modules = match_targets(spec.adamss, facts)
    check_modules_to_save(spec.adamss, facts)
    check_saved_apart(spec.adamss, facts, modules)
    plan = make_plan(spec, 100, total_subspaces(modules, spec.adamss))
    return estimate(plan, facts, modules, labels=2, train_rows=100, eval_rows=10)


def config_of(make: Any, spec: JobSpec) -> AdamssConfig:
    return AdamssConfig(**spec.adamss.config_fields(), task_type=TASKS[make][1])


def trainable(model: PeftModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=batch()["input_ids"]).logits
    return found


SAVED = [
    *((tiny_bert, [name]) for name in ("LayerNorm", "embeddings", "word_embeddings", "pooler", "encoder.layer.0")),
    (tiny_bert, ["dense", "classifier"]),
    (tiny_bert, ["encoder.layer.1", "LayerNorm"]),  # some of these are inside
    *((tiny_llama, [name]) for name in ("norm", "embed_tokens", "lm_head", "mlp")),
    *((tiny_gpt2, [name]) for name in ("wte", "ln_f", "lm_head")),
]
NESTED = (["embeddings"], ["encoder.layer.1", "LayerNorm"])  # stock counts copies of copies, and loads no such file


@pytest.mark.parametrize(("make", "saved"), SAVED)
def test_what_is_trained_in_full_is_counted_saved_loaded_and_merged(
    make: Any, saved: list[str], tmp_path: Path
) -> None:
    spec = spec_of(make, modules_to_save=saved)
    model = give_effect(get_adamss_model(make(), config_of(make, spec)))
    found = planned(spec, facts_of(make))
    assert (found.trainable_parameters, found.least_trainable_parameters) == (trainable(model),) * 2
    assert found.range_reason is None
    if make is not tiny_gpt2 and saved not in NESTED:  # stock adapts no Conv1D
        assert trainable(get_peft_model(make(), config_of(make, spec))) == trainable(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02)
    expected = logits(model.eval())
    save_adapter(model, tmp_path)
    assert torch.equal(logits(load_adapter(make(), tmp_path, is_trainable=False)), expected)
    if make is not tiny_gpt2:
        assert torch.allclose(logits(PeftModel.from_pretrained(make(), str(tmp_path)).eval()), expected, atol=1e-5)
    assert torch.allclose(logits(merge_adapter(model)), expected, atol=1e-5)


def test_stock_cannot_load_nested_copies(tmp_path: Path) -> None:
    """The reason for naming the outer modules; when it no longer holds, PEFT may take the names as they are."""
    spec = spec_of(tiny_bert, modules_to_save=["embeddings"])
    get_peft_model(tiny_bert(), config_of(tiny_bert, spec)).save_pretrained(str(tmp_path))
    with pytest.raises(KeyError, match="modules_to_save"):
        PeftModel.from_pretrained(tiny_bert(), str(tmp_path))


@pytest.mark.parametrize(
    ("make", "saved", "says"),
    [
        (tiny_bert, "layer", "'bert.encoder.layer' is a list of modules"),
        (tiny_llama, "proj", "use a longer name"),
    ],
)
def test_what_cannot_be_trained_in_full_is_refused_before_training(make: Any, saved: str, says: str) -> None:
    spec = spec_of(make, modules_to_save=[saved])
    with pytest.raises(SpecProblem, match=says) as caught:
        planned(spec, facts_of(make)) if saved == "proj" else check_modules_to_save(spec.adamss, facts_of(make))
    assert caught.value.param == "adamss.modules_to_save[0]"
    with pytest.raises(ConfigError, match="modules_to_save") as refused:
        get_adamss_model(make(), config_of(make, spec))
    assert refused.value.where == "modules_to_save"


def test_names_that_are_taken_all_the_same() -> None:
    """An adapter_config.json that PEFT wrote names both of its heads."""
    check_modules_to_save(spec_of(tiny_bert, modules_to_save=["classifier", "score"]).adamss, facts_of(tiny_bert))
    (warning,) = saved_warnings(spec_of(tiny_llama, modules_to_save=["norm"]).adamss, facts_of(tiny_llama))
    assert "also trains input_layernorm, post_attention_layernorm" in warning
    (warning,) = saved_warnings(spec_of(tiny_llama, modules_to_save=["rotary_emb"]).adamss, facts_of(tiny_llama))
    assert "has no parameters" in warning
    assert saved_warnings(spec_of(tiny_bert, modules_to_save=["LayerNorm"]).adamss, facts_of(tiny_bert)) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"use_dynamic_rank": True, "subspace_rank": 3}, "use_dynamic_rank"),
        ({"subspace_rank": 8, "num_subspaces": 8, "r": 20}, "limited by the rows"),
    ],
)
def test_what_depends_on_the_weights_is_a_range(fields: dict[str, Any], reason: str) -> None:
    spec = spec_of(tiny_bert, **fields)
    found = planned(spec, facts_of(tiny_bert))
    assert found.range_reason is not None
    assert reason in found.range_reason
    assert found.least_trainable_parameters is not None
    for model in (make(tiny_bert(), config_of(tiny_bert, spec)) for make in (get_adamss_model, get_peft_model)):
        assert found.least_trainable_parameters <= trainable(model) <= found.trainable_parameters


def test_modules_without_weights_in_the_files_are_counted(tmp_path: Path) -> None:
    """As the pooler of a masked language model: it starts at random, so the run trains it."""
    model: PreTrainedModel = BertForMaskedLM(tiny_bert().config)
    model.save_pretrained(tmp_path)
    fresh = fresh_modules(str(tmp_path), AutoModelForSequenceClassification, ["classifier"])
    assert fresh == ["bert.pooler.dense"]
    known = facts_of(tiny_bert).model_copy(update={"fresh_modules": fresh})
    pooler = 64 * 64 + 64
    spec = spec_of(tiny_bert)
    assert planned(spec, known).head_parameters == planned(spec, facts_of(tiny_bert)).head_parameters + pooler
    elsewhere = planned(spec, known.model_copy(update={"fresh_modules": None}))
    assert "such as a pooler" in str(elsewhere.range_reason)
    assert fresh_modules("nobody/nothing", AutoModelForSequenceClassification, []) is None


@pytest.mark.parametrize("make", [t5, bart])
def test_a_table_that_only_holds_a_weight_is_refused(make: Any) -> None:
    """Encoder and decoder read `embed_tokens`: a copy of `shared` got no gradient."""
    targets = ["q" if make is t5 else "q_proj"]
    with pytest.raises(ConfigError, match=r"'(model\.)?shared', which only holds the weight that") as caught:
        get_adamss_model(make(), AdamssConfig(r=4, target_modules=targets, modules_to_save=["shared"]))
    assert "Name 'embed_tokens'" in caught.value.hint
    get_adamss_model(
        make(), AdamssConfig(r=4, num_subspaces=2, target_modules=targets, modules_to_save=["embed_tokens"])
    )


def test_what_is_free_in_a_container_of_targets_is_named() -> None:
    modules = ["bert", "bert.embeddings", "bert.embeddings.words", "bert.layer", "bert.layer.0", "bert.layer.0.query"]
    hint = apart_hint("bert", modules, ["bert.layer.0.query"])
    assert hint.endswith("use a longer name, or name modules beside the targets: 'bert.embeddings'.")
    assert apart_hint("bert.layer.0.query", modules, ["bert.layer.0.query"]).endswith("use a longer name.")
