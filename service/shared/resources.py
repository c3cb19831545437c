"""Memory and abilities of a worker, as it registers them and as jobs are planned by them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Resources(BaseModel):
    """Resources of one worker.

    Attributes:
        kind: of its devices.
        memory_bytes: of its smallest GPU, or the RAM that was available at its start; None if unknown.
        bf16: whether its devices compute in bf16.
        fp16: whether they train in fp16.
        quantization: whether bitsandbytes is installed.
        slots: how many jobs it runs at a time; None from an older version.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["cpu", "cuda"]
    memory_bytes: int | None = None
    bf16: bool = False
    fp16: bool = False
    quantization: bool = False
    slots: int | None = None
