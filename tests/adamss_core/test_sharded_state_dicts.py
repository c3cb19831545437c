"""Adapter files from a model in torch's FullyShardedDataParallel, as PEFT's own cases of it write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from peft import AdamssConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import distributed as dist
from torch import nn
from torch.distributed import HashStore  # type: ignore[attr-defined]  # public, but not named in __all__
from torch.distributed.fsdp import FullyShardedDataParallel

from adamss_core import get_adamss_model


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def model(**fields: Any) -> Any:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 2))
    config = AdamssConfig(r=8, num_subspaces=2, subspace_rank=1, target_modules=["0"], init_weights=None, **fields)
    return get_adamss_model(base, config).eval()


@pytest.mark.usefixtures("group")
@pytest.mark.filterwarnings("ignore")  # FullyShardedDataParallel is deprecated, and PEFT's cases use it
@pytest.mark.parametrize(
    "fields",
    [{}, {"use_asa": True, "asa_target_subspaces": 1, "init_warmup": 1, "final_warmup": 5, "mask_interval": 1}],
    ids=["plain", "asa"],
)
def test_an_adapter_comes_back_from_a_sharded_model(fields: dict[str, Any]) -> None:
    x = torch.randn(3, 10)
    sharded = FullyShardedDataParallel(model(**fields), use_orig_params=True, device_id=torch.device("cpu"))
    with torch.no_grad():
        before = sharded(x)
        saved = get_peft_model_state_dict(sharded)
        again = model(**fields)
        for parameter in again.parameters():
            if parameter.requires_grad:
                parameter.zero_()
        assert not torch.allclose(again(x), before)
        set_peft_model_state_dict(again, saved)
        assert torch.allclose(again(x), before, atol=1e-6)
    assert {"base_model.model.0.adamss_A.0", "base_model.model.0.adamss_B.1"} <= set(saved)
