"""Tiny models of each family of base models, with tokenizer or image processor, and rows for each task."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    BitImageProcessorPil,
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

WORDS = ("fine", "dull", "great", "grim", "the", "film", "plot", "actor", "was", "very", "2", "isn't", "not")
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
HIDDEN = 32
BODY: dict[str, Any] = {"hidden_size": HIDDEN, "intermediate_size": 64}


def _tokenizer(ends: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE.

    Args:
        ends: template of a whole text, such as "<s> $A </s>".
    """
    special = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=ends, pair=f"{ends} {ends.replace('$A', '$B')}", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=64
    )
    made.chat_template = TEMPLATE
    return made


def _save_text_model(folder: Path, config: Any, architecture: Any, ends: str) -> None:
    tokenizer = _tokenizer(ends)
    config.vocab_size, config.pad_token_id, config.bos_token_id, config.eos_token_id = len(tokenizer), 0, 1, 2
    architecture(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def encoder(folder: Path) -> None:
    config = BertConfig(**BODY, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64)
    _save_text_model(folder, config, BertModel, "<s> $A </s>")


def decoder(folder: Path) -> None:
    config = LlamaConfig(
        **BODY, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64
    )
    _save_text_model(folder, config, LlamaForCausalLM, "<s> $A")


def seq2seq(folder: Path) -> None:
    config = BartConfig(
        d_model=HIDDEN, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64, decoder_start_token_id=2,
    )  # fmt: skip
    _save_text_model(folder, config, BartForConditionalGeneration, "<s> $A </s>")


def seq2seq_t5(folder: Path) -> None:
    config = T5Config(d_model=HIDDEN, num_layers=1, num_heads=2, d_kv=16, d_ff=64)
    config.decoder_start_token_id = 0
    _save_text_model(folder, config, T5ForConditionalGeneration, "$A </s>")


def vit(folder: Path) -> None:
    config = ViTConfig(**BODY, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8)
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)


def dinov2(folder: Path) -> None:
    config = Dinov2Config(
        hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    crop = {"height": 28, "width": 28}
    BitImageProcessorPil(size={"shortest_edge": 28}, crop_size=crop).save_pretrained(folder)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "encoder": encoder,
    "decoder": decoder,
    "seq2seq": seq2seq,
    "seq2seq-t5": seq2seq_t5,
    "vit": vit,
    "dinov2": dinov2,
}


def build(family: str, models_folder: Path) -> None:
    """Write a family's tiny model into the models folder, under its name."""
    torch.manual_seed(0)
    FAMILIES[family](models_folder / family)


# --- rows -------------------------------------------------------------------------------------------------------------


def _text(source: random.Random) -> str:
    return " ".join(source.choices(WORDS, k=source.randint(2, 8)))


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def rows_for(kind: str, count: int = 24) -> tuple[str, bytes]:
    """Return file name and content of a small data set of a kind in `matrix.KINDS`."""
    source = random.Random(0)
    if kind == "images":
        return "images.zip", _images(count)
    make: dict[str, Callable[[int], dict[str, Any]]] = {
        "classes": lambda i: {"text": _text(source), "label": "ab"[i % 2]},
        "pairs": lambda i: {"text": _text(source), "text_pair": _text(source), "label": "ab"[i % 2]},
        "label sets": lambda i: {"text": _text(source), "label": [["a"], ["a", "b"], []][i % 3]},
        "numbers": lambda i: {"text": _text(source), "label": i / 10},
        "tags": lambda i: {"tokens": ["great", "film", "isn't"], "tags": ["B-X", "O", ["O", "I-X"][i % 2]]},
        "completions": lambda i: {"prompt": _text(source), "completion": _text(source)},
        "chats": lambda i: {
            "messages": [{"role": "user", "content": _text(source)}, {"role": "assistant", "content": _text(source)}]
        },
    }
    return "rows.jsonl", _jsonl([make[kind](i) for i in range(count)])


def _images(count: int) -> bytes:
    from io import BytesIO

    generator, packed = np.random.default_rng(0), BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(count):
            picture = BytesIO()
            Image.fromarray(generator.integers(0, 255, (20, 24, 3)).astype(np.uint8)).save(picture, "png")
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", picture.getvalue())
    return packed.getvalue()
