"""Name modules for PEFT's `target_modules` so that no other module is adapted."""

from __future__ import annotations

import copy
import re

from peft import AdamssConfig, PeftModel
from torch import nn

from adamss_core.compiled import plain_name
from adamss_core.layer import AdamssLayer


def narrowed(model: PeftModel, adapter: str, left_out: list[str]) -> AdamssConfig:
    """Return the adapter's configuration, with targets that match all adapted modules but those left out."""
    config: AdamssConfig = model.peft_config[adapter]
    if not left_out:
        return config
    config = copy.copy(config)
    left = sorted(set(model.base_model.adapted_layers(adapter)) - set(left_out))
    config.target_modules = exact_targets(model.base_model.model, left)
    config.layers_to_transform = config.layers_pattern = None
    return config


def exact_targets(base: nn.Module, modules: list[str]) -> list[str] | str:
    """Return target_modules that match exactly `modules`: short names where they suffice, whole names, or a regex."""
    everything = [plain_name(name) for name, _ in base.named_modules() if name and not _inside_adapter(base, name)]
    everything = list(dict.fromkeys(everything))  # a compiled module and its original have one name
    for candidate in (sorted({name.rpartition(".")[2] for name in modules}), modules):
        matched = [n for n in everything if n in candidate or n.endswith(tuple(f".{c}" for c in candidate))]
        if sorted(matched) == modules:
            return candidate
    return "|".join(re.escape(name) for name in modules)


def _inside_adapter(base: nn.Module, name: str) -> bool:
    parent = name
    while "." in parent:
        parent = parent.rpartition(".")[0]
        if isinstance(base.get_submodule(parent), AdamssLayer):
            return True
    return False
