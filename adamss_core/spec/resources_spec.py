"""Which devices a job needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

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
    """Whether the frozen base is divided among the devices. For "auto" and false each device holds a copy of it; true
    is refused, as dividing is not there yet."""
    kind: Annotated[str, Field(pattern=DEVICE_KIND)] | None = None
    """Kind that the devices must be of, as `GET /workers` names it, such as "h100" or "cpu"; null takes any."""
    memory_gb: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Memory in GB that must be free on each device; null takes the estimate."""

    @field_validator("shard")
    @classmethod
    def _is_whole(cls, value: Literal["auto"] | bool) -> Literal["auto"] | bool:
        if value is True:
            raise ValueError('true is not there yet: each device holds a copy of the base. Take "auto" or false')
        return value
