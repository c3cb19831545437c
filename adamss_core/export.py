"""Export the trained delta without AdaMSS: as a stock LoRA adapter, or merged into the base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from adamss_core.adapter_files import (
    CONFIG,
    KEY_PREFIX,
    MANIFEST,
    WEIGHTS,
    active_adapter,
    adapter_tensors,
    config_json,
    to_json,
    write_folder,
)
from adamss_core.compiled import original, uncompiled
from adamss_core.errors import ExportError
from adamss_core.exact_targets import exact_targets
from adamss_core.layer import AdamssLayer
from adamss_core.untying import tied_weights

LORA_MANIFEST = "lora_manifest.json"


def export_lora(model: PeftModel, folder: str | Path, adapter_name: str | None = None) -> dict[str, Any]:
    """Write the adapter as a stock PEFT LoRA with the same outputs.

    delta W = B_dense (A V^T), so lora_A = A V^T (R, in), lora_B = B_dense (out, R), scaling 1. Subspaces and layers
    without effect are dropped; ranks are padded with zeros to one. The delta of a bias becomes LoRA's bias.

    Returns:
        The manifest, also written as `lora_manifest.json`: rank, scaling, `lora_bias` (servers without LoRA bias need
        the merged model then), `modules_without_bias` (given a zero LoRA bias all the same, because PEFT has one switch
        for all modules), adapted and dropped modules.

    Raises:
        ExportError: the adapter has no effect at all, or the folder holds an AdaMSS adapter.
    """
    model = original(model)
    adapter = adapter_name or active_adapter(model)
    if (Path(folder) / MANIFEST).exists():
        raise ExportError(
            f"{folder} holds an AdaMSS adapter, which the LoRA's files would replace.",
            hint="Export into another folder.",
            where=str(folder),
        )
    layers: dict[str, AdamssLayer] = model.base_model.adapted_layers(adapter)
    factors = {name: _effective_factors(layer, adapter) for name, layer in layers.items()}
    effective = {name: value for name, value in factors.items() if value[1].shape[1] > 0}
    if not effective:
        raise ExportError(
            f"Adapter '{adapter}' changes nothing yet: every B is zero.",
            hint="Train it first.",
            where=adapter,
        )
    rank = max(up.shape[1] for _, up, _ in effective.values())
    with_bias = any(bias is not None for _, _, bias in effective.values())
    without_bias = sorted(name for name in effective if layers[name].get_base_layer().bias is None) if with_bias else []
    tensors: dict[str, Tensor] = {}
    for name, (down, up, bias) in effective.items():
        prefix = f"{KEY_PREFIX}{name}"
        tensors[f"{prefix}.lora_A.weight"] = _pad(down, rank, dim=0)
        tensors[f"{prefix}.lora_B.weight"] = _pad(up, rank, dim=1)
        if with_bias:
            tensors[f"{prefix}.lora_B.bias"] = (up.new_zeros(up.shape[0]) if bias is None else bias).cpu().clone()
    for key, value in adapter_tensors(model, adapter).items():
        if ".adamss_" not in key:  # modules_to_save
            tensors[key] = value
    manifest = {
        "format": "adamss-lora",
        "version": 1,
        "rank": rank,
        "scaling": 1.0,
        "lora_bias": with_bias,
        "modules": sorted(effective),
        "dropped_modules": sorted(set(factors) - set(effective)),
        "modules_without_bias": without_bias,
        "note": _note(with_bias, without_bias, _tied_targets(model, sorted(effective))),
    }
    config = _lora_config(model, adapter, sorted(effective), rank, with_bias)
    files = {
        WEIGHTS: safetensors.torch.save(tensors, metadata={"format": "pt"}),
        CONFIG: config_json(model, config),
        LORA_MANIFEST: to_json(manifest),
    }
    write_folder(Path(folder), files)
    return manifest


def merge_adapter(model: PeftModel, adapter_name: str | None = None) -> nn.Module:
    """Merge the delta into the base model, in fp32 and rounded once, and return the base; the PeftModel is consumed.

    Modules that share a weight, such as tied embeddings, are untied if one of them is adapted or was trained in full;
    the model's config then says `tie_word_embeddings: false` (umT5's, which cannot, stays as it is).

    Raises:
        MergeError: the delta is not finite, the base is quantised in a way that cannot be merged into, or an adapted
            module shares its weight with another one and cannot be untied.
    """
    model = uncompiled(model)
    adapter = adapter_name or active_adapter(model)
    merged: nn.Module = model.base_model.merge_and_unload(safe_merge=True, adapter_names=[adapter])
    return merged


def _note(with_bias: bool, without_bias: list[str], tied: list[str]) -> str:
    note = "This adapter is plain LoRA."
    if with_bias:
        note = "This adapter has LoRA biases; a server without support for them needs the merged model."
    if without_bias:
        note += " PEFT cannot merge it, because some of its modules have no bias; the merged model is at hand for that."
    if tied:
        note += f" Do not merge it with PEFT, which would change the embeddings that share the weight of {tied[0]} too."
    return note


def _tied_targets(model: PeftModel, modules: list[str]) -> list[str]:
    tied = tied_weights(model.base_model.model)
    return [name for name in modules if name in tied]


@torch.no_grad()
def _effective_factors(layer: AdamssLayer, adapter: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return `lora_factors` without ranks whose column of `up` is zero; a zero bias becomes None."""
    down, up, bias = layer.lora_factors(adapter)
    used = torch.where(up.ne(0).any(0))[0]
    if bias is not None and not bool(bias.any()):
        bias = None
    return down[used], up[:, used], bias


def _pad(value: Tensor, rank: int, *, dim: int) -> Tensor:
    shape = list(value.shape)
    shape[dim] = rank
    padded = torch.zeros(shape, dtype=value.dtype)
    padded.narrow(dim, 0, value.shape[dim]).copy_(value)
    return padded


def _lora_config(model: PeftModel, adapter: str, modules: list[str], rank: int, with_bias: bool) -> LoraConfig:
    source = model.peft_config[adapter]
    base = model.base_model.model
    layers = model.base_model.adapted_layers(adapter)
    return LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        lora_bias=with_bias,
        target_modules=exact_targets(base, modules),
        modules_to_save=source.modules_to_save,
        fan_in_fan_out=all(isinstance(layers[name].get_base_layer(), Conv1D) for name in modules),
        task_type=source.task_type,
        base_model_name_or_path=source.base_model_name_or_path,
        revision=source.revision,
    )
