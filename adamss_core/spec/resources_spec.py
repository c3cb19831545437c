"""Which devices a job needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from adamss_core.spec.adamss import StrictInt
from adamss_core.spec.spec_model import SpecModel

MOST_DEVICES = 64  # of one job; all of them are of one host
DEVICE_KIND = r"^[a-z0-9][a-z0-9._-]{0,39}$"
GIGABYTE = 10**9


class ResourcesSpec(SpecModel):
    """Devices of one worker that the job takes all at once; until as many are free it waits."""

    devices: Annotated[StrictInt, Field(ge=1, le=MOST_DEVICES)] = 1
    """Devices to train on together, all of one worker. The rows of each step are divided among them: steps, schedule
    and results do not depend on their number."""
    shard: Literal["auto"] | Annotated[bool, Field(strict=True)] = "auto"
    """Whether the frozen base is divided among the devices, so that each holds a part of its layers and gathers one at
    a time; false gives each a copy. "auto" divides it where a copy does not fit. A quantised base is always copied."""
    kind: Annotated[str, Field(pattern=DEVICE_KIND)] | None = None
    """Kind that the devices must be of, as `GET /workers` names it, such as "h100" or "cpu"; null takes any."""
    memory_gb: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Memory in GB that must be free on each device; null takes the estimate."""

    @model_validator(mode="after")
    def _has_several(self) -> ResourcesSpec:
        if self.shard is True and self.devices == 1:
            raise ValueError("shard: true divides the base among devices; give devices of at least 2")
        return self
