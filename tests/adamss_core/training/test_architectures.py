"""Heads and poolers that other architectures have: all of it must reach the artifacts."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    GPT2Config,
    PreTrainedConfig,
    RobertaConfig,
)

from adamss_core.training.run import run
from tests.adamss_core.training.support import Recorder, build_tokenizer, job, request
from tests.marks import compat

pytestmark = pytest.mark.slow

WORDS = len(build_tokenizer())
BODIES: dict[str, tuple[PreTrainedConfig, Any]] = {
    # The pooler is missing from the files, as in checkpoints of masked language models.
    "bert": (
        BertConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, vocab_size=WORDS
        ),
        "all-linear",
    ),
    "roberta": (
        RobertaConfig(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, vocab_size=WORDS,
            max_position_embeddings=14, pad_token_id=0,
        ),
        ["query", "dense"],
    ),
    # Two layers in the head, of which PEFT's own names cover one.
    "distilbert": (DistilBertConfig(dim=32, n_layers=1, n_heads=2, hidden_dim=48, vocab_size=WORDS), "all-linear"),
    # Conv1D, and no padding token in the config.
    "gpt2": (GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=40, vocab_size=WORDS), ["c_attn"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["bert", compat("roberta"), compat("distilbert"), "gpt2"])
def test_every_artifact_of_every_architecture_agrees(tmp_path: Path, kind: str) -> None:
    config, targets = BODIES[kind]
    torch.manual_seed(0)
    body = AutoModel.from_config(config, **({"add_pooling_layer": False} if kind in ("bert", "roberta") else {}))
    body.save_pretrained(tmp_path / "model")
    build_tokenizer().save_pretrained(tmp_path / "model")
    spec = job(
        adamss={"target_modules": targets, "use_asa": False},
        training={"max_steps": 6, "precision": "fp32"},
        artifacts=["adapter", "lora", "merged"],
    )
    recorder = Recorder()
    outcome = run(request(tmp_path / "model", tmp_path / "job", spec=spec), recorder)
    assert [artifact.name for artifact in outcome.artifacts] == ["adapter", "lora", "merged"]
    assert all(a.manifest["verification"]["largest_difference"] < 1e-4 for a in outcome.artifacts)
    if kind == "roberta":  # 14 positions begin after the padding token
        assert outcome.artifacts[0].manifest["max_length"] == 13
    # What the card says is held in tests/adamss_core/test_peft_page.py.
    warned = {artifact.name for artifact in outcome.artifacts if "class Conv1D" in card_of(artifact.path)}
    assert warned == ({"adapter"} if kind == "gpt2" else set())
    assert outcome.artifacts[0].manifest["conv1d_modules"] == (1 if kind == "gpt2" else 0)


def card_of(artifact: Path) -> str:
    with zipfile.ZipFile(artifact) as archive:
        return archive.read("README.md").decode()
