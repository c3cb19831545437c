"""Devices in the job spec."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from adamss_core.spec.resources_spec import ResourcesSpec


def test_one_device_cannot_divide_a_base() -> None:
    with pytest.raises(ValidationError, match="give devices of at least 2"):
        ResourcesSpec.model_validate({"shard": True})
    assert ResourcesSpec.model_validate({"devices": 2, "shard": True}).shard is True
    assert ResourcesSpec.model_validate({"shard": False}).shard is False
