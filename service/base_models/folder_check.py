"""Check the files of a model's folder without loading it: config, index, and the headers of the weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from service.base_models.model_archive import refuse
from service.shared.errors import quoted_names
from service.shared.model_selection import REMEDY

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
MAX_CONFIG_BYTES = 2**20
MAX_INDEX_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 100_000_000  # as the format has it


def check_folder(folder: Path) -> None:
    """Check that config and all weights are here and whole.

    Raises:
        InvalidRequest: names the file at fault, and a remedy.
    """
    config = _object(folder / CONFIG, MAX_CONFIG_BYTES)
    if not isinstance(config.get("model_type"), str):
        message = "config.json does not say the model_type. Save the model with save_pretrained of transformers."
        raise refuse("damaged_file", message)
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise refuse("missing_file", f"The model has no safetensors weights (model.safetensors). {REMEDY}")
    if (folder / INDEX).exists():
        _check_shards(folder)
    for path in weights:
        _check_weights(path)


def _check_shards(folder: Path) -> None:
    shards = _object(folder / INDEX, MAX_INDEX_BYTES).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise refuse("damaged_file", f"{INDEX} has no weight_map. Save the model again.")
    missing = sorted({name for name in shards.values() if "/" in name or not (folder / name).is_file()})
    if missing:
        message = f"{INDEX} names files that are missing: {quoted_names(missing)}. Add them and pack the folder again."
        raise refuse("missing_file", message)


def _check_weights(path: Path) -> None:
    """Compare a safetensors file's length with the end of the last tensor that its header names."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER_BYTES + 1
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise _truncated(path, size)
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            message = f"The header of {path.name} cannot be read. Save the model again."
            raise refuse("damaged_file", message) from error
    if size != expected:
        raise _truncated(path, size, expected)


def _truncated(path: Path, size: int, expected: int | None = None) -> Exception:
    length = f"{size:,} bytes" + (f" in place of {expected:,}" if expected is not None else "")
    message = f"{path.name} is truncated or damaged: it has {length}. Copy or save it again."
    return refuse("truncated_file", message)


def _object(path: Path, limit: int) -> dict[str, Any]:
    if not path.is_file():
        raise refuse("missing_file", f"{path.name} is missing. Pack the whole folder that save_pretrained has written.")
    if path.stat().st_size > limit:
        raise refuse("damaged_file", f"{path.name} has more than {limit:,} bytes.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise refuse("damaged_file", f"{path.name} is no JSON. Save the model again.") from error
    if not isinstance(value, dict):
        raise refuse("damaged_file", f"{path.name} is no JSON object. Save the model again.")
    return value
