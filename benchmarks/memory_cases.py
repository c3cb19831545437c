"""Base models, data and jobs of `make bench-memory`.

`FITTED` are the jobs by which the constants of `adamss_core.spec.memory` were chosen; `HELD_OUT` were not looked at.
"""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    Dinov2Config,
    Dinov2ForImageClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
)

from examples.demo_model import BASE_MODEL, install_model

REVIEWS = Path(__file__).parents[1] / "examples" / "data" / "movie_reviews.csv"
SPECIAL = ("[PAD]", "[UNK]", "[EOS]", "<|user|>", "<|assistant|>", "<|end|>")
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|> {{ message.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
GENERATION = "text-generation"


@dataclass(frozen=True)
class Case:
    """One job.

    Attributes:
        rows: kind of data, a key of `ROWS`.
        words: fewest and most words of a row.
        training, spec: of the job; what is not named has the job's own default.
    """

    name: str
    model: str
    rows: str
    words: tuple[int, int] = (5, 200)
    training: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)


def _generation(**dataset: str) -> dict[str, Any]:
    return {"task": GENERATION, "dataset": dataset}


CHAT, COMPLETION, TEXT = (
    _generation(messages="messages"),
    _generation(prompt="prompt", completion="completion"),
    _generation(text="text"),
)
TAGS, IMAGES = {"task": "token-classification"}, {"task": "image-classification"}
LINEAR = {"adamss": {"target_modules": "all-linear", "num_subspaces": 10}}
NO_SAMPLES = {"sample_prompts": 0}

HELD_OUT = (
    Case("classes, MiniLM 64 x 64", BASE_MODEL, "classes", training={"max_length": 64, "batch_size": 64}),
    Case(
        "pairs, MiniLM 192 x 16, fp32",
        BASE_MODEL,
        "pairs",
        (40, 150),
        {"max_length": 192, "batch_size": 16, "precision": "fp32"},
        {"dataset": {"text_pair": "text_pair"}},
    ),
    Case(
        "several classes, MiniLM 128 x 8, all linear",
        BASE_MODEL,
        "labels",
        training={"max_length": 128, "batch_size": 8},
        spec={"problem_type": "multi_label_classification", "dataset": {"label": "labels"}, **LINEAR},
    ),
    Case(
        "numbers, MiniLM 96 x 32",
        BASE_MODEL,
        "numbers",
        training={"max_length": 96},
        spec={"problem_type": "regression", "dataset": {"label": "score"}},
    ),
    Case(
        "tags, MiniLM 128 x 16, fp32",
        BASE_MODEL,
        "tags",
        (5, 120),
        {"max_length": 128, "batch_size": 16, "precision": "fp32"},
        TAGS,
    ),
    Case("tags, SmolLM2 48 x 16", "smollm2", "tags", (5, 60), {"max_length": 48, "batch_size": 16}, TAGS),
    Case(
        "classes, SmolLM2 128 x 4, fp32",
        "smollm2",
        "classes",
        training={"max_length": 128, "batch_size": 4, "precision": "fp32"},
    ),
    Case(
        "chats, SmolLM2 256 x 2",
        "smollm2",
        "chats",
        (100, 240),
        {"max_length": 256, "batch_size": 2} | NO_SAMPLES,
        CHAT,
    ),
    Case(
        "completions, SmolLM2 96 x 6, fp32, recomputed",
        "smollm2",
        "completions",
        (40, 90),
        {"max_length": 96, "batch_size": 6, "packing": False, "precision": "fp32", "gradient_checkpointing": True}
        | NO_SAMPLES,
        COMPLETION,
    ),
    Case(
        "texts, tiny decoder 512 x 8, fp32",
        "tiny",
        "texts",
        (100, 600),
        {"max_length": 512, "batch_size": 8, "precision": "fp32"},
        TEXT,
    ),
    Case("images, ViT-small x 16", "vit", "images", training={"batch_size": 16}, spec=IMAGES),
    Case(
        "images, DINOv2-small x 24, fp32",
        "dinov2",
        "images",
        training={"batch_size": 24, "precision": "fp32"},
        spec=IMAGES,
    ),
    Case(
        "completions, T5-small 128 x 16, fp32",
        "t5",
        "completions",
        (60, 170),
        {"max_length": 128, "batch_size": 16, "precision": "fp32"} | NO_SAMPLES,
        COMPLETION,
    ),
    Case("answers, T5-small 192 x 8", "t5", "answers", (40, 300), {"max_length": 192} | NO_SAMPLES, COMPLETION),
    Case(
        "translations, BART-base 96 x 8, fp32",
        "bart",
        "translations",
        (60, 180),
        {"max_length": 96, "precision": "fp32"} | NO_SAMPLES,
        COMPLETION,
    ),
    Case(
        "completions, BART-base 256 x 4, recomputed",
        "bart",
        "completions",
        (100, 350),
        {"max_length": 256, "batch_size": 4, "gradient_checkpointing": True} | NO_SAMPLES,
        COMPLETION,
    ),
)
FITTED = (
    Case("classes, MiniLM 128 x 32, fp32", BASE_MODEL, "classes", training={"max_length": 128, "precision": "fp32"}),
    Case("classes, MiniLM 128 x 32", BASE_MODEL, "classes", training={"max_length": 128}),
    Case("classes, MiniLM 256 x 8", BASE_MODEL, "classes", training={"batch_size": 8}),
    Case(
        "classes, MiniLM 32 x 8, fp32",
        BASE_MODEL,
        "classes",
        (5, 40),
        {"max_length": 32, "batch_size": 8, "precision": "fp32"},
    ),
    Case(
        "classes, MiniLM 128 x 16, fp32, all linear",
        BASE_MODEL,
        "classes",
        training={"max_length": 128, "batch_size": 16, "precision": "fp32"},
        spec=LINEAR,
    ),
    Case("tags, MiniLM 64 x 16", BASE_MODEL, "tags", (5, 90), {"max_length": 64, "batch_size": 16}, TAGS),
    Case(
        "chats, SmolLM2 160 x 4, fp32",
        "smollm2",
        "chats",
        (145, 155),
        {"max_length": 160, "batch_size": 4, "gradient_accumulation_steps": 1, "precision": "fp32"},
        CHAT,
    ),
    Case("chats of 50 tokens, SmolLM2 at defaults", "smollm2", "chats", (40, 44), NO_SAMPLES, CHAT),
    Case("chats of 50 tokens, tiny decoder at defaults", "tiny", "chats", (40, 44), NO_SAMPLES, CHAT),
    Case(
        "chats, SmolLM2 160 x 8, fp32, recomputed",
        "smollm2",
        "chats",
        (145, 155),
        {
            "max_length": 160,
            "batch_size": 8,
            "gradient_accumulation_steps": 1,
            "precision": "fp32",
            "gradient_checkpointing": True,
        }
        | NO_SAMPLES,
        CHAT,
    ),
    Case(
        "images, ViT-small x 32, fp32", "vit", "images", training={"batch_size": 32, "precision": "fp32"}, spec=IMAGES
    ),
    Case("images, DINOv2-small x 8", "dinov2", "images", training={"batch_size": 8}, spec=IMAGES),
)


# --- base models: MiniLM is the pretrained one, the others have random weights ----------------------------------------


def install(model: str, models: Path) -> None:
    """Put a base model into the models folder."""
    if model == BASE_MODEL:
        install_model(models)
    else:
        _BUILDERS[model](models / model)


def decoder(folder: Path, **sizes: Any) -> None:
    """Save a Llama with a tokenizer of whole words."""
    config = LlamaConfig(**sizes, tie_word_embeddings=True, pad_token_id=0, bos_token_id=2, eos_token_id=2)
    LlamaForCausalLM(config).save_pretrained(folder)
    fast = _tokenizer(config.vocab_size)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def _tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for each word of the reviews."""
    words = [*SPECIAL, *vocabulary()][:vocab_size]
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]")


def _smollm2(folder: Path) -> None:
    """SmolLM2-135M."""
    decoder(
        folder,
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1_536,
        vocab_size=49_152,
        max_position_embeddings=8_192,
    )


def _tiny(folder: Path) -> None:
    decoder(
        folder,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=384,
        vocab_size=2_000,
        max_position_embeddings=2_048,
    )


SMALL: dict[str, Any] = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}


def _vit(folder: Path) -> None:
    ViTForImageClassification(ViTConfig(**SMALL, intermediate_size=1_536)).save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)


def _dinov2(folder: Path) -> None:
    """DINOv2-small, whose images have 518 pixels in its config, and 224 in its processor."""
    Dinov2ForImageClassification(Dinov2Config(**SMALL, mlp_ratio=4, image_size=518)).save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)


def _t5(folder: Path) -> None:
    """T5-small."""
    tokens: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0}
    config = T5Config(**tokens)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    _tokenizer(config.vocab_size).save_pretrained(folder)


def _bart(folder: Path) -> None:
    """BART-base."""
    part = {"layers": 6, "attention_heads": 12, "ffn_dim": 3_072}
    sizes: dict[str, Any] = {
        f"{stack}_{name}": value for stack in ("encoder", "decoder") for name, value in part.items()
    }
    tokens: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = BartConfig(**sizes, **tokens, d_model=768, forced_eos_token_id=None)
    BartForConditionalGeneration(config).save_pretrained(folder)
    _tokenizer(config.vocab_size).save_pretrained(folder)


_BUILDERS: dict[str, Callable[[Path], None]] = {
    "smollm2": _smollm2,
    "tiny": _tiny,
    "vit": _vit,
    "dinov2": _dinov2,
    "t5": _t5,
    "bart": _bart,
}


# --- data -------------------------------------------------------------------------------------------------------------


def vocabulary() -> list[str]:
    """Return the words of real reviews, in the order of their first use."""
    with REVIEWS.open(newline="", encoding="utf-8") as file:
        return list(dict.fromkeys(word for row in csv.DictReader(file) for word in row["text"].split()))


def rows_name(case: Case) -> str:
    return "images.zip" if case.rows == "images" else "rows.jsonl"


def rows(case: Case, count: int) -> bytes:
    """Return the content of a file of made-up rows."""
    generator = random.Random(0)
    if case.rows == "images":
        return _images(generator, count)
    words = vocabulary()

    def text(share: float = 1.0) -> str:
        return " ".join(generator.choices(words, k=max(1, round(share * generator.randint(*case.words)))))

    made = [_ROWS[case.rows](text, number) for number in range(count)]
    return "".join(json.dumps(row) + "\n" for row in made).encode()


def _tags(text: Callable[[float], str], number: int) -> dict[str, Any]:
    tokens = text(1.0).split()
    return {"tokens": tokens, "tags": [("O", "B-X", "I-X")[(number + i) % 3] for i in range(len(tokens))]}


_ROWS: dict[str, Callable[[Callable[[float], str], int], dict[str, Any]]] = {
    "classes": lambda text, number: {"text": text(1.0), "label": "ab"[number % 2]},
    "pairs": lambda text, number: {"text": text(0.5), "text_pair": text(0.5), "label": "ab"[number % 2]},
    "labels": lambda text, number: {"text": text(1.0), "labels": [["a"], ["a", "b"], []][number % 3]},
    "numbers": lambda text, number: {"text": text(1.0), "score": number / 100},
    "tags": _tags,
    "chats": lambda text, number: {
        "messages": [{"role": "user", "content": text(0.5)}, {"role": "assistant", "content": text(0.5)}]
    },
    "completions": lambda text, number: {"prompt": text(0.7), "completion": text(0.3)},
    "translations": lambda text, number: {"prompt": text(0.5), "completion": text(0.5)},
    "answers": lambda text, number: {"prompt": text(0.2), "completion": text(0.8)},
    "texts": lambda text, number: {"text": text(1.0)},
}


def _images(generator: random.Random, count: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for number in range(count):
            file = io.BytesIO()
            Image.new("RGB", (64, 64), (generator.randrange(256), 0, 0)).save(file, "PNG")
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", file.getvalue())
    return content.getvalue()
