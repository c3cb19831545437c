"""Modules that share a weight for good are no targets: merged, an adapter on one changes the others too."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from peft import AdamssConfig
from torch import Tensor, nn

from adamss_core import get_adamss_model, load_adapter, merge_adapter, save_adapter
from adamss_core.errors import MergeError, TargetError
from adamss_core.shared_weights import shared_weights
from tests.adamss_core.support import assert_untouched, give_effect, layers_of, state_of
from tests.models import Mlp, tiny_bert, tiny_gpt2, tiny_llama


class Registered(nn.Module):
    """One module under two names, of which PEFT would replace the first only."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 16)
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.again(self.first(x))
        return out


def config(**fields: Any) -> AdamssConfig:
    return AdamssConfig(**{"r": 8, "num_subspaces": 2, "init_weights": None, **fields})


def test_sharers_are_found_under_their_names() -> None:
    assert shared_weights(tiny_bert()) == shared_weights(Mlp()) == shared_weights(tiny_llama()) == {}
    tied = {"lm_head": "transformer.wte", "transformer.wte": "lm_head"}
    assert shared_weights(tiny_gpt2()) == tied
    adapted = get_adamss_model(tiny_gpt2(), config(target_modules=["c_attn"]))
    assert shared_weights(adapted.get_base_model()) == tied
    assert shared_weights(Registered()) == {"first": "again", "again": "first"}


def test_a_module_under_two_names_is_refused() -> None:
    model = Registered()
    before = state_of(model)
    with pytest.raises(TargetError, match="'first' shares its weight with") as caught:
        get_adamss_model(model, config(target_modules=["first"]))
    assert "Leave it out" in caught.value.hint
    assert_untouched(model, before)


def test_every_linear_layer_never_meant_tied_output_embeddings() -> None:
    assert "lm_head" not in layers_of(get_adamss_model(tiny_gpt2(), config(target_modules="all-linear")))


def test_an_adapter_that_exists_answers_but_is_not_merged(tmp_path: Any) -> None:
    """One that stock PEFT made, or an older version: alone it is right."""
    base = Registered()
    apart = deepcopy(base)
    apart.again = nn.Linear(16, 16)
    save_adapter(give_effect(get_adamss_model(apart, config(target_modules=["first"]))), tmp_path)
    loaded = load_adapter(base, tmp_path, is_trainable=False)
    with pytest.raises(MergeError, match="'first' shares its weight"):
        merge_adapter(loaded)
