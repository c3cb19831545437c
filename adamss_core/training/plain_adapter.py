"""Read and write the trained tensors of an adapter of PEFT's own, for the checkpoints of a contender."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

WEIGHTS = "adapter_model.safetensors"


def write_plain_adapter(model: PeftModel, folder: Path, name: str) -> None:
    """Write the tensors of the adapter `name`, modules in full included, without configuration and card."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not "auto", which would ask the hub for the base's vocabulary.
    tensors = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    content = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(content, metadata={"format": "pt"}))


def read_plain_adapter(model: PeftModel, folder: Path, name: str) -> None:
    """Put back what `write_plain_adapter` wrote."""
    set_peft_model_state_dict(model, safetensors.torch.load((folder / WEIGHTS).read_bytes()), adapter_name=name)
