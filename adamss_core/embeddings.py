"""Carry token embeddings that were resized after the base was loaded, under stock PEFT's keys.

Resizing adds random rows: whoever resizes the base again to load the adapter gets other ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from adamss_core.errors import TensorShapeError


def resized_embeddings(model: nn.Module, revision: str | None) -> dict[str, Tensor]:
    """Return the weights of input and output embeddings by name, if the base's own config has another vocabulary.

    Whole tables, as stock PEFT can load no single rows. Tied output embeddings follow the input's; PEFT itself saves
    those that are in modules_to_save.

    Args:
        model: the base model inside a PeftModel.
        revision: of the base on the hub.
    """
    rows, rows_of_base = _vocabulary(getattr(model, "config", None)), _vocabulary_of_base(model, revision)
    if rows is None or rows_of_base is None or rows == rows_of_base:
        return {}
    found: dict[str, Tensor] = {}
    for name, module in _embeddings(model).items():
        if not isinstance(module, AuxiliaryTrainingWrapper):
            base = getattr(module, "base_layer", module)  # of an adapted module
            prefix = name if base is module else f"{name}.base_layer"
            found |= {f"{prefix}.{kind}": tensor.detach() for kind, tensor in base.named_parameters(recurse=False)}
    first: dict[int, str] = {}
    return {name: tensor for name, tensor in found.items() if first.setdefault(tensor.data_ptr(), name) == name}


@contextmanager
def fitted_embeddings(model: nn.Module, tensors: dict[str, Tensor], prefix: str) -> Iterator[None]:
    """Resize the base's embeddings to the rows that an adapter's file has for them; undo that if the block fails.

    Args:
        tensors: of the file, by key.
        prefix: of the base's names in the keys.

    Raises:
        TensorShapeError: the base cannot be resized.
    """
    keys = [f"{prefix}{name}{part}.weight" for name in _embeddings(model) for part in ("", ".base_layer")]
    rows = {tensors[key].shape[0] for key in keys if key in tensors}
    current = _vocabulary(getattr(model, "config", None))
    if rows <= {current}:
        yield
        return
    if len(rows) > 1 or not hasattr(model, "resize_token_embeddings"):
        raise TensorShapeError(
            f"The adapter's token embeddings have {sorted(rows)} rows, to which the base model cannot be resized.",
            hint="Use the base model the adapter was trained on.",
            where="embeddings",
        )
    before = _tables(model)
    _resize(model, rows.pop())
    try:
        yield
    except BaseException:
        _resize(model, current)
        with torch.no_grad():
            for name, table in _tables(model).items():
                table.copy_(before[name])
        raise


def _resize(model: Any, rows: int | None) -> None:
    model.resize_token_embeddings(rows, mean_resizing=False)


def _tables(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of the embeddings by name, as they are now: resizing replaces their data."""
    modules = _embeddings(model).items()
    return {f"{name}.{kind}": p.data for name, module in modules for kind, p in module.named_parameters(recurse=False)}


def _embeddings(model: nn.Module) -> dict[str, nn.Module]:
    """Return the model's input and output embeddings by name, as far as it has any."""
    found = []
    for accessor in ("get_input_embeddings", "get_output_embeddings"):
        try:
            found.append(getattr(model, accessor)())
        except (AttributeError, NotImplementedError):
            continue
    return {name: module for name, module in model.named_modules() if any(module is one for one in found)}


def _vocabulary_of_base(model: Any, revision: str | None) -> int | None:
    """Return the vocabulary in the base's own config, from its folder or the hub's cache; None where neither has it."""
    name = getattr(model, "name_or_path", "")
    if not name:  # made here
        return None
    try:
        config = type(model.config).from_pretrained(name, revision=revision, local_files_only=True)
    except (AttributeError, OSError, ValueError):
        return None
    return _vocabulary(config)


def _vocabulary(config: Any) -> int | None:
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    size = getattr(text, "vocab_size", None)
    return size if isinstance(size, int) else None
