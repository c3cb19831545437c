"""AdaMSS adapters with exact ASA pruning, portable files and LoRA export.

Importing this package is cheap: torch and peft are imported when one of the names below is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamss_core.adapter_files import load_adapter, save_adapter
    from adamss_core.calibration import Calibration
    from adamss_core.callback import AdamssAsaCallback
    from adamss_core.export import export_lora, merge_adapter
    from adamss_core.peft_model import get_adamss_model

__all__ = [
    "AdamssAsaCallback",
    "Calibration",
    "export_lora",
    "get_adamss_model",
    "load_adapter",
    "merge_adapter",
    "save_adapter",
]

_HOMES = {
    "AdamssAsaCallback": "callback",
    "Calibration": "calibration",
    "export_lora": "export",
    "get_adamss_model": "peft_model",
    "load_adapter": "adapter_files",
    "merge_adapter": "export",
    "save_adapter": "adapter_files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        error.add_note('The library needs its extra: pip install "adamss[core]"')
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
