"""Small models that the tests build themselves; nothing is downloaded."""

from __future__ import annotations

from typing import Any

import torch
from peft import AdamssConfig
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

VOCABULARY = 100


def tiny_bert(seed: int = 0, *, layers: int = 2, hidden: int = 64) -> BertForSequenceClassification:
    """A BERT classifier whose biases are not zero, so that the bias column matters."""
    torch.manual_seed(seed)
    config = BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=96,
        vocab_size=VOCABULARY,
        max_position_embeddings=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForSequenceClassification(config)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, std=0.1)
    return model.eval()


def tiny_gpt2(seed: int = 0) -> GPT2LMHeadModel:
    """Conv1D instead of Linear."""
    torch.manual_seed(seed)
    config = GPT2Config(
        n_embd=48, n_layer=2, n_head=4, n_positions=32, vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config).eval()


def tiny_llama(seed: int = 0) -> LlamaForCausalLM:
    """Linear without bias."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=32,
    )
    return LlamaForCausalLM(config).eval()


class Mlp(nn.Module):
    """Two linear layers, the second without bias."""

    def __init__(self, width: int = 32, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(torch.tanh(self.first(x)))
        return out


def config(**fields: Any) -> AdamssConfig:
    """A config for `tiny_bert`."""
    defaults: dict[str, Any] = {
        "r": 20,
        "num_subspaces": 4,
        "subspace_rank": 2,
        "target_modules": ["query", "value"],
        "task_type": "SEQ_CLS",
    }
    return AdamssConfig(**{**defaults, **fields})


def batch(seed: int = 0, *, size: int = 4, length: int = 12) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(0, VOCABULARY, (size, length), generator=generator),
        "labels": torch.randint(0, 2, (size,), generator=generator),
    }
