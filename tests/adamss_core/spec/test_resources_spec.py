"""Devices in the job spec."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from adamss_core.spec.resources_spec import ResourcesSpec


def test_a_divided_base_is_refused_with_what_to_send() -> None:
    """It would train with a copy on each device, which is not what was asked for."""
    with pytest.raises(ValidationError, match='Take "auto" or false'):
        ResourcesSpec.model_validate({"devices": 2, "shard": True})
    assert ResourcesSpec.model_validate({"devices": 2, "shard": False}).shard is False
