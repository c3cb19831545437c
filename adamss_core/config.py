"""Validate `peft.AdamssConfig` beyond PEFT's own checks: ranges and contradictions, reported by field."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from numbers import Real
from typing import Any, Literal, get_args

from peft import AdamssConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import nn

from adamss_core.errors import ConfigError
from adamss_core.model_parts import modules_outside

DEFAULT_ADAPTER = "default"  # as in peft.get_peft_model
Bias = Literal["trained", "frozen"]
AsaPruned = Literal["frozen", "removed"]
_AT_LEAST_ONE = ("r", "num_subspaces", "subspace_rank")
_AT_LEAST_ONE_WITH_ASA = ("asa_target_subspaces", "mask_interval", "final_warmup")
_BETAS = ("asa_importance_beta", "asa_uncertainty_beta")
_SWITCHES = ("use_asa", "use_dynamic_rank", "inference_mode")
# Parts of the keys in adapter files; see `layer_state`.
_RESERVED = {"weight", "bias", "base_layer", "original_module", "modules_to_save"}
_RESERVED |= {
    "pruned_at",
    "masked_at",
    "removed_rank",
    "score",
    "compact",
    "importance_a",
    "uncertainty_a",
    "importance_b",
    "uncertainty_b",
}


def validate_config(config: AdamssConfig) -> None:
    """Raise ConfigError for the first field that is out of range or contradicts another."""
    for name in _AT_LEAST_ONE:
        _require_integer(config, name, minimum=1)
    _require_integer(config, "random_seed", minimum=0)
    for name in _BETAS:
        _require_number(config, name, most=1)
    _require_number(config, "svd_threshold")
    for name in _SWITCHES:
        if not isinstance(getattr(config, name), bool):
            raise _refuse(name, getattr(config, name), "Use True or False.")
    if config.init_weights not in ("orthogonal", None):
        raise _refuse("init_weights", config.init_weights, "Use 'orthogonal', or None for a random B.")
    if config.use_asa:
        _validate_asa(config)
    _validate_targets(config)


def is_frozen_bias(bias: Bias) -> bool:
    """Return whether the setting leaves the base's biases alone.

    Raises:
        ConfigError: it is no such setting.
    """
    if bias not in get_args(Bias):
        raise _refuse("bias", bias, "Use 'trained', as PEFT does, or 'frozen'.")
    return bias == "frozen"


def removes_pruned(asa_pruned: AsaPruned) -> bool:
    """Return whether the setting removes pruned subspaces.

    Raises:
        ConfigError: it is no such setting.
    """
    if asa_pruned not in get_args(AsaPruned):
        raise _refuse("asa_pruned", asa_pruned, "Use 'frozen', as PEFT does, or 'removed'.")
    return asa_pruned == "removed"


def _validate_asa(config: AdamssConfig) -> None:
    _require_integer(config, "init_warmup", minimum=0)
    for name in _AT_LEAST_ONE_WITH_ASA:
        _require_integer(config, name, minimum=1)
    if config.init_warmup >= config.final_warmup:
        raise _refuse(
            "final_warmup",
            config.final_warmup,
            f"It must be larger than init_warmup={config.init_warmup}, so that there are steps to prune in.",
        )
    exponent = config.asa_schedule_exponent
    if not _is_number(exponent) or not 0 < exponent < float("inf"):
        raise _refuse("asa_schedule_exponent", exponent, "Use a positive number, such as 3.0.")


def _validate_targets(config: AdamssConfig) -> None:
    targets = config.target_modules
    if isinstance(targets, str):
        _require_regex("target_modules", targets)
    elif targets is not None:
        _require_names("target_modules", targets)
    if config.modules_to_save is not None:
        _require_names("modules_to_save", config.modules_to_save, may_be_empty=True)
    _validate_layers(config)


def list_layers(config: AdamssConfig) -> None:
    """Make a list of a tuple, set or range of layers: adapter_config.json is JSON. Empty ones stay, and choose none."""
    layers = config.layers_to_transform
    if isinstance(layers, Collection) and layers:
        config.layers_to_transform = list(layers)


def _validate_layers(config: AdamssConfig) -> None:
    layers, patterns = config.layers_to_transform, config.layers_pattern
    if patterns:
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            _require_regex("layers_pattern", pattern)
    if layers is None:
        return
    indices = layers if isinstance(layers, Collection) else [layers]
    if not all(isinstance(index, int) and not isinstance(index, bool) and index >= 0 for index in indices):
        raise _refuse("layers_to_transform", layers, "Use layer indices of at least 0.")


def check_adapter_name(name: str, model: nn.Module) -> None:
    """Check that the name cannot be mistaken for another part of a key: PEFT finds tensors by the name between dots.

    Raises:
        ConfigError: the name would mix up tensors when adapters are saved or loaded.
    """
    if not name or "." in name or name.isdigit() or name in _RESERVED or name in _module_names(model):
        raise ConfigError(
            f"{name!r} cannot be an adapter's name: it is empty, a number, has a dot, or names a module or tensor.",
            hint=f"Use another name, such as '{DEFAULT_ADAPTER}'.",
            where="adapter_name",
        )


def _module_names(model: nn.Module) -> set[str]:
    """Return the parts of the names of the base model's own modules, without those inside adapter layers."""
    own = modules_outside(model, (BaseTunerLayer, AuxiliaryTrainingWrapper))
    return {part for name in own for part in name.split(".")}


def _require_names(field: str, value: Any, *, may_be_empty: bool = False) -> None:
    if isinstance(value, str) or not all(isinstance(name, str) and name for name in value):
        raise _refuse(field, value, "Use a list of module names.")
    if not value and not may_be_empty:
        raise _refuse(field, value, "Name at least one module, such as ['query', 'value'].")


def _require_regex(field: str, value: str) -> None:
    try:
        re.compile(value)
    except (re.error, TypeError) as error:
        raise _refuse(field, value, f"It is not a regular expression ({error}).") from error
    if not value:
        raise _refuse(field, value, "Name at least one module, such as ['query', 'value'].")


def _require_integer(config: AdamssConfig, name: str, *, minimum: int) -> None:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise _refuse(name, value, f"Use an integer of at least {minimum}.")


def _require_number(config: AdamssConfig, name: str, most: float = sys.float_info.max) -> None:
    value = getattr(config, name)
    if not _is_number(value) or not 0 <= value <= most:
        raise _refuse(name, value, "Use a number from 0 to 1.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _refuse(field: str, value: object, hint: str) -> ConfigError:
    return ConfigError(f"{field}={value!r} is not allowed.", hint=hint, where=field)
