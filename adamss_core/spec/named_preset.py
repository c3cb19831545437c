"""Fill in a spec from a named preset: values by the paths of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adamss_core.spec.budget import CHOSEN, FIELD
from adamss_core.spec.job import JobSpec

BLOCKS = ("adamss", "training")  # blocks that a preset may fill in
# A field of a preset gives way to these of the spec too: one would decide about the other, or belong to another value.
_RIVALS: dict[str, tuple[str, ...]] = {
    FIELD: tuple(f"adamss.{name}" for name in CHOSEN),
    **{f"adamss.{name}": (FIELD,) for name in CHOSEN},
    "training.max_steps": ("training.epochs",),
    "training.gradient_accumulation_steps": ("training.batch_size",),
}


def with_preset(spec: JobSpec, fields: Mapping[str, Any]) -> tuple[JobSpec, dict[str, Any]]:
    """Fill in the fields that a spec leaves out; return it without `preset`, and the values that were filled in.

    Args:
        fields: path, such as training.learning_rate, -> value.

    Raises:
        ValidationError: the values do not go together with those of the spec.
    """
    plain = spec.model_dump(mode="json", exclude_unset=True)
    plain.pop("preset", None)
    given = {f"{block}.{name}" for block in BLOCKS for name in plain.get(block) or {}}
    filled = {path: value for path, value in fields.items() if not given & {path, *_RIVALS.get(path, ())}}
    for path, value in filled.items():
        block, _, name = path.partition(".")
        plain[block] = {**(plain.get(block) or {}), name: value}
    return JobSpec.model_validate(plain), filled
