"""Sizes of everything that is measured: the full ones for a GPU, the small ones for a CPU and the tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Precision = Literal["fp32", "bf16", "bf16 weights"]


@dataclass(frozen=True)
class Base:
    """A random base model and the batch it trains on.

    Attributes:
        kind: encoder (BERT with a classifier) or decoder (Llama with a language model's head).
        batch, length: rows and tokens per row of one step.
    """

    kind: Literal["encoder", "decoder"]
    layers: int
    hidden: int
    intermediate: int
    heads: int
    vocabulary: int
    batch: int
    length: int

    @property
    def targets(self) -> list[str]:
        return ["query", "value"] if self.kind == "encoder" else ["q_proj", "v_proj"]

    @property
    def task_type(self) -> str:
        return "SEQ_CLS" if self.kind == "encoder" else "CAUSAL_LM"

    def __str__(self) -> str:
        return f"{self.kind} {self.layers} x {self.hidden}, batch {self.batch} x {self.length}"


@dataclass(frozen=True)
class RunSizes:
    """A whole run: a random BERT on disk, rows of text, a job.

    Attributes:
        rows: nine tenths of them, which are trained on, are whole batches.
        kill_at: step after which the process is killed; checkpoints are written every `checkpoint_steps`.
    """

    layers: int
    hidden: int
    rows: int
    words: int
    batch: int
    max_length: int
    steps: int
    checkpoint_steps: int
    kill_at: int
    bits: tuple[Literal["4bit", "8bit"], ...]


@dataclass(frozen=True)
class Sizes:
    """One version of the check.

    Attributes:
        subspaces: numbers K of subspaces per module.
        rounds: timed steps of each contender.
        quantised: base whose steps are measured in 4 bits.
        compiled: (base, precision, K) whose steps are measured under torch.compile, the most telling first; of few
            layers, since 12 take a minute and a half to compile.
    """

    small: bool
    encoder: Base
    decoder: Base
    encoder_precisions: tuple[Precision, ...]
    decoder_precisions: tuple[Precision, ...]
    subspaces: tuple[int, ...]
    r: int
    rounds: int
    run: RunSizes
    quantised: Base
    compiled: tuple[tuple[Base, Precision, int], ...]


_BERT = Base("encoder", 12, 768, 3072, 12, 30_522, batch=16, length=128)
_LLAMA = Base("decoder", 16, 2048, 8192, 32, 32_000, batch=4, length=512)  # 1.04 billion parameters
FULL = Sizes(
    small=False,
    encoder=_BERT,
    decoder=_LLAMA,
    encoder_precisions=("fp32", "bf16"),
    decoder_precisions=("bf16", "fp32", "bf16 weights"),
    subspaces=(5, 32),
    r=100,
    rounds=15,
    run=RunSizes(6, 384, 3_840, 120, 64, 128, 120, 20, 50, ("4bit", "8bit")),
    quantised=_LLAMA,
    compiled=(
        (replace(_BERT, layers=2), "bf16", 5),
        (replace(_LLAMA, layers=2), "bf16", 5),
        (replace(_BERT, layers=2), "fp32", 5),
        (replace(_BERT, layers=2), "bf16", 32),
    ),
)

_TINY_BERT = Base("encoder", 1, 64, 128, 2, 200, batch=2, length=16)
_TINY_LLAMA = Base("decoder", 1, 64, 128, 2, 200, batch=2, length=16)
SMALL = Sizes(
    small=True,
    encoder=_TINY_BERT,
    decoder=_TINY_LLAMA,
    encoder_precisions=("fp32", "bf16"),
    decoder_precisions=("fp32",),
    subspaces=(3, 8),
    r=16,
    rounds=3,
    run=RunSizes(1, 32, 160, 6, 8, 16, 16, 4, 6, ("4bit",)),
    quantised=_TINY_LLAMA,
    compiled=(),
)
