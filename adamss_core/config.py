"""What `peft.AdamssConfig` leaves unchecked: ranges and contradictions, refused by the field's name."""

from __future__ import annotations

from numbers import Real
from typing import Any

from peft import AdamssConfig

from adamss_core.errors import ConfigError

_AT_LEAST_ONE = ("r", "num_subspaces", "subspace_rank")
_AT_LEAST_ONE_WITH_ASA = ("asa_target_subspaces", "mask_interval", "final_warmup")
_FRACTIONS = ("asa_importance_beta", "asa_uncertainty_beta", "svd_threshold")


def validate_config(config: AdamssConfig) -> None:
    """Raises ConfigError for the first field that is out of range or contradicts another."""
    for name in _AT_LEAST_ONE:
        _require_integer(config, name, minimum=1)
    _require_integer(config, "random_seed", minimum=0)
    for name in _FRACTIONS:
        _require_fraction(config, name)
    if config.init_weights not in ("orthogonal", None):
        raise _refuse("init_weights", config.init_weights, "Use 'orthogonal', or None for a random B.")
    if config.use_asa:
        _validate_asa(config)
    _validate_targets(config)


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
    if targets is not None and len(targets) == 0:
        raise _refuse("target_modules", targets, "Name at least one module, such as ['query', 'value'].")
    if config.layers_pattern and config.layers_to_transform is None:
        raise _refuse(
            "layers_pattern", config.layers_pattern, "It only serves layers_to_transform: set that too, or drop this."
        )
    layers = config.layers_to_transform
    if layers is None:
        return
    if isinstance(targets, str):
        raise _refuse(
            "layers_to_transform",
            layers,
            "It has no effect on a regex target_modules: give a list of names, or put the layers into the regex.",
        )
    indices = layers if isinstance(layers, list) else [layers]
    if not all(isinstance(index, int) and not isinstance(index, bool) and index >= 0 for index in indices):
        raise _refuse("layers_to_transform", layers, "Use layer indices of at least 0.")


def _require_integer(config: AdamssConfig, name: str, *, minimum: int) -> None:
    value = getattr(config, name)
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise _refuse(name, value, f"Use an integer of at least {minimum}.")


def _require_fraction(config: AdamssConfig, name: str) -> None:
    value = getattr(config, name)
    if not _is_number(value) or not 0 <= value < 1:
        raise _refuse(name, value, "Use a number from 0 up to, but not including, 1.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _refuse(field: str, value: object, hint: str) -> ConfigError:
    return ConfigError(f"{field}={value!r} is not allowed.", hint=hint, where=field)
