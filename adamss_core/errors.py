"""The errors that the core raises on purpose: what is wrong, where, and what to do about it.

This module imports nothing, so that callers can catch these errors without importing torch.
"""

from __future__ import annotations


class AdamssWarning(UserWarning):
    """Warning about an adjustment that the user may not have meant."""


class AdamssError(Exception):
    """Base class of the core's errors.

    Attributes:
        code: stable machine-readable name of the kind of error.
        message: what is wrong, in one sentence.
        hint: what to do about it.
        where: the config field, module or file at fault, or None.
    """

    code = "adamss_error"

    def __init__(self, message: str, *, hint: str, where: str | None = None) -> None:
        super().__init__(f"{message} {hint}")
        self.message = message
        self.hint = hint
        self.where = where

    def __reduce__(self) -> tuple[object, ...]:  # keyword-only arguments need help to be pickled
        return _rebuild, (type(self), self.message, self.hint, self.where)


def _rebuild(kind: type[AdamssError], message: str, hint: str, where: str | None) -> AdamssError:
    return kind(message, hint=hint, where=where)


class ConfigError(AdamssError, ValueError):
    """A config field is out of range or contradicts another; `where` is the field."""

    code = "invalid_config"


class TargetError(AdamssError, ValueError):
    """The target modules cannot be adapted; `where` is the module or the pattern."""

    code = "invalid_target"


class BypassedTargetError(TargetError):
    """A target's weight is read without calling the module, so that an adapter on it would have no effect."""

    code = "target_without_effect"


class WeightError(AdamssError, ValueError):
    """A target's weight cannot be decomposed; `where` is the module."""

    code = "invalid_weight"


class AdapterFileError(AdamssError, ValueError):
    """A folder holds no adapter, or its files are truncated or altered; `where` is the file."""

    code = "invalid_adapter_file"


class TensorShapeError(AdapterFileError):
    """A tensor of an adapter does not fit; `where` is the tensor."""

    code = "tensor_shape_mismatch"


class BaseMismatchError(AdamssError, ValueError):
    """The adapter was trained on another base model; `where` is the first module that differs."""

    code = "base_mismatch"


class PlacementError(AdamssError, ValueError):
    """The rows of an adapter written by stock PEFT cannot be placed with certainty; `where` is the module."""

    code = "uncertain_placement"


class AdapterStateError(AdamssError, RuntimeError):
    """An adapter has no values yet to compute with; `where` is its name."""

    code = "adapter_without_values"


class AsaStateError(AdamssError, ValueError):
    """An ASA state does not belong to this model; `where` is the module or field."""

    code = "invalid_asa_state"


class CalibrationError(AdamssError, ValueError):
    """The calibration rows give no basis; `where` is the module or field."""

    code = "calibration_failed"


class MergeError(AdamssError, RuntimeError):
    """The delta cannot be merged into a base layer; `where` is the module or adapter."""

    code = "merge_failed"


class ExportError(AdamssError, RuntimeError):
    """The adapter cannot be exported as asked; `where` is the adapter or file."""

    code = "export_failed"
