"""Find the modules that a model's files have no weights for: they start at random, so they are trained in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.utils import logging as transformers_logging


def fresh_modules(source: str, auto_model: Any, heads: list[str]) -> list[str] | None:
    """Return the names of these modules outside of the head; None for a model of the hub, whose files are not here.

    transformers compares the names in the files with the model's, by its own rules of renaming; no weight is read. A
    folder whose files cannot be read has none.
    """
    if not Path(source).is_dir():
        return None
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        _, info = auto_model.from_pretrained(
            source,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception:  # whatever keeps the files from being read, the run reports it
        return []
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
    missing = {str(key) for key in info["missing_keys"]} | {str(entry[0]) for entry in info["mismatched_keys"]}
    names = sorted({key.rpartition(".")[0] for key in missing} - {""})
    return [name for name in names if not any(f"{name}.".startswith(f"{head}.") for head in heads)]
