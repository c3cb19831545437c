"""A tiny LLaMA with a trained tokenizer and a chat template, and conversations it can learn."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adamss_core.spec import JobSpec

COLOURS = {"sky": "blue", "grass": "green", "snow": "white", "coal": "black", "blood": "red", "sun": "yellow"}
HEAD = "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
TEMPLATE = (
    HEAD + "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] + '<|end|>' }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_chat_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Byte-level BPE, trained on the conversations below."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([turn["content"] for row in chats(200) for turn in row["messages"]], trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=special[2:],
        model_max_length=128,
    )
    made.chat_template = template
    return made


def build_llama(folder: Path, *, template: str | None = TEMPLATE, seed: int = 0) -> Path:
    """As safetensors, with its tokenizer, in `folder`."""
    torch.manual_seed(seed)
    tokenizer = build_chat_tokenizer(template)
    config = LlamaConfig(
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        initializer_range=0.15,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def chats(rows: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """One or two questions for the colour of a thing."""
    source = random.Random(seed)
    made = []
    for _ in range(rows):
        messages = []
        for thing in source.sample(sorted(COLOURS), k=source.randint(1, 2)):
            messages.append({"role": "user", "content": f"What colour is {thing}?"})
            messages.append({"role": "assistant", "content": f"It is {COLOURS[thing]}."})
        made.append({"messages": messages})
    return made


def completions(rows: int, *, seed: int = 0) -> list[dict[str, Any]]:
    source = random.Random(seed)
    things = [source.choice(sorted(COLOURS)) for _ in range(rows)]
    return [{"prompt": f"What colour is {thing}?", "completion": f" It is {COLOURS[thing]}."} for thing in things]


def generation_job(*, training: dict[str, Any] | None = None, **fields: Any) -> JobSpec:
    """19 steps an epoch for 160 rows, without ASA."""
    return JobSpec.model_validate(
        {
            "name": "tiny-chat",
            "task": "text-generation",
            "base_model": "tiny-llama",
            "dataset": {"train": "ds_" + "a" * 12, "eval_fraction": 0.1},
            "adamss": {"r": 16, "num_subspaces": 3, "target_modules": "all-linear", "subspace_rank": 2},
            "training": {
                "epochs": 2,
                "batch_size": 8,
                "gradient_accumulation_steps": 1,
                "learning_rate": 0.02,
                "max_length": 64,
                "precision": "fp32",
                "sample_prompts": 2,
                **(training or {}),
            },
            "artifacts": ["adapter"],
            **fields,
        }
    )
