"""Write a training state to files and restore it: safetensors and JSON, never a pickle."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from peft import PeftModel
from torch import Tensor
from torch.optim import Optimizer

from adamss_core.adapter_files import save_adapter
from adamss_core.model import AdamssModel
from adamss_core.training.checkpoints import read_json
from adamss_core.training.plain_adapter import write_plain_adapter
from adamss_core.training.ranks import Ranks
from adamss_core.training.ranks.random_streams import restore_stream

ADAPTER, OPTIMIZER, RANDOM, STATE = "adapter", "optimizer.safetensors", "random.safetensors", "state.json"
SEPARATOR = "|"  # between a parameter's name and its slot; it occurs in no module's name


def write_snapshot(
    folder: Path,
    model: PeftModel,
    name: str,
    optimizer: Optimizer,
    state: dict[str, Any],
    streams: dict[str, Tensor] | None = None,
) -> None:
    """Write the adapter `name` with ASA's state, the optimizer, random generators, and `state` (JSON values).

    Args:
        streams: random generators of the other ranks.
    """
    write = save_adapter if isinstance(model.base_model, AdamssModel) else write_plain_adapter
    write(model, folder / ADAPTER, name)
    slots = optimizer_tensors(model, optimizer)
    (folder / OPTIMIZER).write_bytes(safetensors.torch.save(slots, metadata={"format": "pt"}))
    (folder / RANDOM).write_bytes(safetensors.torch.save(_random_tensors() | (streams or {})))
    (folder / STATE).write_text(json.dumps(state | {"random": _random_state()}))


def restore_snapshot(
    folder: Path, model: PeftModel, optimizer: Optimizer, ranks: Ranks | None = None
) -> dict[str, Any]:
    """Restore optimizer and random generators, and return `state`; the adapter is loaded with the model."""
    restore_optimizer(model, optimizer, safetensors.torch.load((folder / OPTIMIZER).read_bytes()))
    state = read_json(folder / STATE)
    tensors = safetensors.torch.load((folder / RANDOM).read_bytes())
    _restore_random(tensors, state.pop("random"))
    if ranks is not None:
        restore_stream(ranks, tensors, state["identity"]["seed"], state["progress"]["step"])
    return state


def optimizer_tensors(model: PeftModel, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as "parameter name|slot" -> tensor on the CPU."""
    return {
        f"{name}{SEPARATOR}{slot}": value.detach().cpu().contiguous().clone()
        for name, parameter in model.named_parameters()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(model: PeftModel, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, slot = key.rpartition(SEPARATOR)
        parameter = parameters[name]
        # AdamW keeps its step counts on the CPU, wherever the parameter is.
        device = torch.device("cpu") if value.dim() == 0 else parameter.device
        optimizer.state[parameter][slot] = value.to(device)


def _random_tensors() -> dict[str, Tensor]:
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{index}": value for index, value in enumerate(torch.cuda.get_rng_state_all())}
    return tensors


def _random_state() -> dict[str, Any]:
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, gauss],
    }


def _restore_random(tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    torch.set_rng_state(tensors["cpu"])
    if torch.cuda.is_available():
        devices = [tensors[f"cuda.{i}"] for i in range(torch.cuda.device_count()) if f"cuda.{i}" in tensors]
        torch.cuda.set_rng_state_all(devices)
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached))
