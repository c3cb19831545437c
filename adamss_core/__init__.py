"""AdaMSS adapters with exact ASA pruning, portable files and LoRA export.

Importing this package is free: torch and peft are imported when one of the names below is first touched.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adamss_core.notices import drop_kernel_notice

if TYPE_CHECKING:
    from adamss_core.callback import AdamssAsaCallback
    from adamss_core.export import export_lora, merge_adapter
    from adamss_core.files import load_adapter, save_adapter
    from adamss_core.peft_model import get_adamss_model

__all__ = [
    "AdamssAsaCallback",
    "export_lora",
    "get_adamss_model",
    "load_adapter",
    "merge_adapter",
    "save_adapter",
]

_HOMES = {
    "AdamssAsaCallback": "callback",
    "export_lora": "export",
    "get_adamss_model": "peft_model",
    "load_adapter": "files",
    "merge_adapter": "export",
    "save_adapter": "files",
}

drop_kernel_notice()  # before anything imports peft


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
