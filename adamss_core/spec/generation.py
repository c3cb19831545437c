"""Which columns of a data set are generated from."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adamss_core.spec.job import JobSpec

USUAL: tuple[dict[str, str], ...] = ({"messages": "messages"}, {"prompt": "prompt", "completion": "completion"})


def with_usual_columns(spec: JobSpec, columns: Collection[str]) -> JobSpec:
    """The spec with the columns that the data set has under their usual names, where it names none itself."""
    data = spec.dataset
    named = data.messages is not None or data.prompt is not None or data.text != type(data).model_fields["text"].default
    if spec.task != "text-generation" or named:
        return spec
    found: dict[str, str] = next((names for names in USUAL if set(columns).issuperset(names.values())), {})
    return spec.model_copy(update={"dataset": data.model_copy(update=found)})
