"""What the backward pass keeps, counted on shapes alone, against a real model on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from adamss_core.activations import activation_facts
from adamss_core.spec.facts import Activations

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
BERT = BertConfig(**SIZES, vocab_size=50, max_position_embeddings=64)
LLAMA = LlamaConfig(**SIZES, vocab_size=50, max_position_embeddings=64)
VIT = ViTConfig(**SIZES, image_size=32, patch_size=8)
T5 = T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=50)
BART = BartConfig(
    d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=50,
    encoder_attention_heads=4, decoder_attention_heads=4, max_position_embeddings=64, pad_token_id=0,
)  # fmt: skip


def kept_bytes(model: PreTrainedModel, inputs: dict[str, Tensor], *, half: bool) -> int:
    """The storages that autograd keeps of a real forward, weights excepted."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast(half):
        model(**inputs)
    return sum(storage.nbytes() for address, storage in kept.items() if address not in own)


@contextmanager
def autocast(half: bool) -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        yield


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", [BertForSequenceClassification, LlamaForCausalLM, ViTForImageClassification])
def test_counts_are_those_of_a_real_forward(kind: Any, half: bool) -> None:
    config: Any = {"B": BERT, "L": LLAMA, "V": VIT}[kind.__name__[0]]
    with torch.device("meta"):
        shapes = kind(config)
    tokens = 17 if config is VIT else None
    facts = activation_facts(shapes, tokens)
    assert facts is not None
    known = Activations.model_validate(facts["bf16" if half else "fp32"])
    model = kind(config).train().requires_grad_(False)
    model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output.requires_grad_(True))
    rows, length = 5, tokens or 24
    inputs = {"pixel_values": torch.rand(rows, 3, 32, 32)}
    if tokens is None:
        inputs = {"input_ids": torch.ones(rows, length, dtype=torch.long)}
        inputs["attention_mask"] = inputs["input_ids"].clone()
        inputs["attention_mask"][0, -1] = 0  # padding: without any, a decoder keeps no mask
    real = kept_bytes(model, inputs, half=half)
    assert known.fixed + known.of(rows, length) == pytest.approx(real, rel=0.03)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("kind", "config"), [(T5ForConditionalGeneration, T5), (BartForConditionalGeneration, BART)])
def test_both_stacks_are_counted(kind: Any, config: Any, half: bool) -> None:
    """They embed by modules of their own, though weights are tied: no gradient flowed, and all counts were 0."""
    with torch.device("meta"):
        shapes = kind(config)
    facts = activation_facts(shapes, None)
    assert facts is not None
    known = Activations.model_validate(facts["bf16" if half else "fp32"])
    model = kind(config).train().requires_grad_(False)
    for stack in (model.get_encoder(), model.get_decoder()):
        stack.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output.requires_grad_(True))
    ids = torch.ones(5, 24, dtype=torch.long)
    mask = ids.clone()
    mask[0, -1] = 0
    for decoded in (24, 8):
        inputs = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids[:, :decoded]}
        real = kept_bytes(model, inputs, half=half)
        assert known.fixed + known.of(5, 24, decoded / 24) == pytest.approx(real, rel=0.06)


def test_a_model_that_keeps_nothing_has_no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tokens are embedded elsewhere; the estimate goes by its shapes."""
    with torch.device("meta"):
        model = BertForSequenceClassification(BERT)
    monkeypatch.setattr(model, "get_input_embeddings", torch.nn.Identity)
    assert activation_facts(model, None) is None


def test_a_model_that_does_not_run_has_no_counts() -> None:
    with torch.device("meta"):
        model = BertForSequenceClassification(BERT)
    model.forward = None
    assert activation_facts(model, None) is None
