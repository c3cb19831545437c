"""Tied embeddings get weights of their own when an adapter is merged; stock PEFT changes both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdamssConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

from adamss_core import export_lora, get_adamss_model, load_adapter, merge_adapter, save_adapter
from adamss_core.errors import MergeError
from adamss_core.untying import inseparable_weights, tied_weights
from tests.models import VOCABULARY, batch, tiny_gpt2

# PEFT warns of what merging takes care of here.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Model (has|with) .tie_word_embeddings=True."),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out"),  # of GPT-2's two kinds of layers
]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}
T5_SIZES: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 1,
    "num_heads": 4,
    "vocab_size": VOCABULARY,
    "dropout_rate": 0.0,
    "decoder_start_token_id": 0,
}


def tied_llama() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=VOCABULARY, tie_word_embeddings=True)).eval()


def t5() -> PreTrainedModel:
    torch.manual_seed(0)
    return T5ForConditionalGeneration(T5Config(**T5_SIZES)).eval()


def bart() -> PreTrainedModel:
    torch.manual_seed(0)
    parts = {"layers": 1, "attention_heads": 4, "ffn_dim": 48}
    sizes: dict[str, Any] = {
        f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in parts.items()
    }
    return BartForConditionalGeneration(BartConfig(d_model=32, vocab_size=VOCABULARY, **sizes)).eval()


def umt5() -> PreTrainedModel:
    torch.manual_seed(0)
    return UMT5ForConditionalGeneration(UMT5Config(**T5_SIZES)).eval()


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    inputs = {"input_ids": batch()["input_ids"]}
    if model.config.is_encoder_decoder:  # type: ignore[union-attr]
        inputs["decoder_input_ids"] = inputs["input_ids"][:, :5]
    found: Tensor = model(**inputs).logits
    return found


@torch.no_grad()
def trained(model: PeftModel) -> PeftModel:
    """Every trained parameter changed, as by training."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


CASES = [
    (tiny_gpt2, ["c_attn", "lm_head"], None),
    (tiny_gpt2, ["c_attn"], ["wte"]),
    (tied_llama, ["q_proj", "lm_head"], None),
    (tied_llama, ["q_proj"], ["lm_head"]),
    (t5, ["q", "lm_head"], None),
    (t5, ["q"], ["embed_tokens"]),
    (bart, ["q_proj"], ["lm_head"]),
    (umt5, ["q", "lm_head"], None),
    (umt5, ["q"], ["embed_tokens"]),
]


@pytest.mark.parametrize(("make", "targets", "saved"), CASES)
def test_merged_model_adapter_and_lora_give_the_same_logits(
    make: Any, targets: list[str], saved: list[str] | None, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {"target_modules": targets, "modules_to_save": saved}
    model = trained(get_adamss_model(make(), AdamssConfig(r=8, num_subspaces=2, **fields)))
    expected = logits(model)
    save_adapter(model, tmp_path / "adapter")
    assert torch.equal(logits(load_adapter(make(), tmp_path / "adapter", is_trainable=False)), expected)
    manifest = export_lora(model, tmp_path / "lora")
    assert ("Do not merge it with PEFT" in manifest["note"]) == ("lm_head" in targets)
    lora = PeftModel.from_pretrained(make(), str(tmp_path / "lora")).eval()
    assert torch.allclose(logits(lora), expected, atol=2e-6)
    merged: Any = merge_adapter(model)
    assert torch.allclose(logits(merged), expected, atol=2e-6)
    merged.save_pretrained(tmp_path / "merged")
    loaded = type(merged).from_pretrained(tmp_path / "merged").eval()
    assert torch.allclose(logits(loaded), expected, atol=2e-6)
    flag = "true" if make is umt5 else "false"
    assert f'"tie_word_embeddings": {flag}' in (tmp_path / "merged" / "config.json").read_text()


@pytest.mark.parametrize(("make", "targets", "saved"), CASES)
def test_peft_s_own_calls_untie_too(make: Any, targets: list[str], saved: list[str] | None) -> None:
    """In place, back again, and for good; GPT-2's logits were off by 85."""
    fields: dict[str, Any] = {"target_modules": targets, "modules_to_save": saved}
    model = trained(get_adamss_model(make(), AdamssConfig(r=8, num_subspaces=2, **fields)))
    expected = logits(model)
    model.merge_adapter()
    assert torch.allclose(logits(model), expected, atol=2e-6)
    model.unmerge_adapter()
    assert torch.allclose(logits(model), expected, atol=2e-6)
    merged: Any = model.merge_and_unload()
    assert torch.allclose(logits(merged), expected, atol=2e-6)
    assert merged.config.tie_word_embeddings is (make is umt5)  # whose config always has it on


def test_stock_peft_changes_the_embeddings_too() -> None:
    """The reason for all this; when it no longer holds, PEFT may merge by itself."""
    config = AdamssConfig(r=8, num_subspaces=2, target_modules=["q_proj", "lm_head"])
    model = trained(get_peft_model(tied_llama(), config))
    expected = logits(model)
    assert float((logits(model.merge_and_unload()) - expected).abs().max()) > 0.1


def test_a_model_that_is_not_changed_there_stays_tied() -> None:
    model = get_adamss_model(tied_llama(), AdamssConfig(r=8, num_subspaces=2, target_modules=["q_proj"]))
    merged: Any = merge_adapter(trained(model))
    assert merged.config.tie_word_embeddings is True
    assert merged.lm_head.weight is merged.model.embed_tokens.weight


def test_a_model_that_computes_by_the_flag_is_not_untied() -> None:
    base = t5()
    base.__class__ = ByFlag
    assert tied_weights(base) == {}
    assert "lm_head" in inseparable_weights(base)
    model = get_adamss_model(
        base, AdamssConfig(r=8, num_subspaces=2, target_modules=["q"], modules_to_save=["lm_head"])
    )
    for merge in (merge_adapter, lambda model: model.merge_and_unload(), lambda model: model.merge_adapter()):
        with pytest.raises(MergeError, match="'lm_head' shares its weight"):
            merge(model)


class ByFlag(T5ForConditionalGeneration):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        found = super().forward(*args, **kwargs)
        return found if self.config.tie_word_embeddings else None


def test_biases_that_are_tied_too_are_kept(tmp_path: Path) -> None:
    """The bias of BERT's masked language model is one parameter under two names, and was missing from the files."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    base = BertForMaskedLM(BertConfig(**SIZES, vocab_size=VOCABULARY)).eval()
    nn.init.normal_(base.cls.predictions.bias)
    fields: dict[str, Any] = {"target_modules": ["query"], "modules_to_save": ["word_embeddings"]}
    model = trained(get_adamss_model(base, AdamssConfig(r=8, num_subspaces=2, **fields)))
    expected = logits(model)
    merged: Any = merge_adapter(model)
    merged.save_pretrained(tmp_path)
    assert torch.allclose(logits(BertForMaskedLM.from_pretrained(tmp_path).eval()), expected, atol=2e-6)
