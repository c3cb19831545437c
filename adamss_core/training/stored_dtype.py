"""Load a base in the dtype of its files, so that they are mapped, and each rank reads only its part of the blocks.

Weights in another dtype than their file's are copied whole when they are loaded. What is computed stays the same: the
matrices of the blocks are widened when they are gathered, and all else right away.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from torch import nn
from transformers.utils.hub import cached_file

from adamss_core.training.ranks.sharding import blocks_of
from adamss_core.weight_sketch import pack_sketch, tolerance_of

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def stored_dtype(path: str, options: dict[str, Any]) -> torch.dtype:
    """Return the dtype of a model's files, fp32 where they have several.

    Args:
        path: a folder, or a hub id.
        options: of `from_pretrained`, which say where the hub's files are.
    """
    found = {dtype for file in _files(path, options) for dtype in _dtypes(file)}
    return DTYPES.get(found.pop(), torch.float32) if len(found) == 1 else torch.float32


def widen_outside_blocks(base: nn.Module) -> None:
    """Give all but the matrices of the blocks fp32, which they have in a base that is loaded in fp32."""
    inside = {parameter for block in blocks_of(base) for parameter in block.parameters() if parameter.dim() > 1}
    for parameter in base.parameters():
        if parameter not in inside:
            parameter.data = parameter.data.float()
    for buffer in base.buffers():
        if buffer.dtype in (torch.float16, torch.bfloat16):
            buffer.data = buffer.data.float()


def train_full_precision(model: PeftModel) -> None:
    """Train in fp32 what was copied from the blocks, and let adapter files name a base in fp32, as it computes."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()
    for name in model.peft_config:
        for layer in model.base_model.adapted_layers(name).values():
            sketched = layer.adamss_sketch[name].cpu().view(torch.float32)[:-1]
            layer.adamss_sketch[name] = pack_sketch(sketched, tolerance_of(torch.float32))


def _files(path: str, options: dict[str, Any]) -> list[str]:
    if (index := _find(path, INDEX, options)) is not None:
        names = sorted(set(json.loads(Path(index).read_text())["weight_map"].values()))
        return [file for name in names if (file := _find(path, name, options)) is not None]
    weights = _find(path, WEIGHTS, options)
    return [] if weights is None else [weights]


def _find(path: str, name: str, options: dict[str, Any]) -> str | None:
    kept = {key: options[key] for key in ("revision", "local_files_only") if key in options}
    found: str | None = cached_file(
        path, name, **kept, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return found


def _dtypes(file: str) -> set[str]:
    """Return the names of the floating dtypes in a file, from its header."""
    with safe_open(file, framework="pt") as tensors:
        names = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118  # not a dict
    return {name for name in names if name not in ("I64", "I32", "I8", "U8", "BOOL")}
