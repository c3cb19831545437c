"""Adapters from which another one cannot start, where their settings are not in PEFT's configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from adamss_core import get_adamss_model, save_adapter
from adamss_core.config import Bias
from adamss_core.fileio.zipping import write_zip
from adamss_core.spec import AdamssSpec
from adamss_core.training.adapter_size import adapter_size
from adamss_core.training.base_model import Source
from adamss_core.training.errors import TrainingError
from adamss_core.training.warm_start import warm_start
from tests.adamss_core.support import ASA, give_effect, layers_of, outputs, prune_half
from tests.adamss_core.training.support import Recorder
from tests.models import config, tiny_bert, tiny_llama

SOURCE = Source("tiny", None, "tiny", ())


def published(model: PeftModel, folder: Path) -> Path:
    """The archive of an adapter, with as much of the artifact's manifest as a warm start reads."""
    save_adapter(model, folder, leave_out_emptied=True)
    (folder / "manifest.json").write_text(
        json.dumps({"result": {"labels": []}, "spec": {"adamss": {}}}), encoding="utf-8"
    )
    write_zip(folder / "adapter.zip", {path.name: path for path in folder.iterdir()})
    return folder / "adapter.zip"


@pytest.mark.parametrize(("here", "there"), [("frozen", "trained"), ("trained", "frozen"), ("frozen", "frozen")])
def test_biases_that_one_trains_and_the_other_does_not(here: Bias, there: Bias, tmp_path: Path) -> None:
    archive = published(give_effect(get_adamss_model(tiny_bert(), config(), bias=there)), tmp_path)
    model = get_adamss_model(tiny_bert(), config(), bias=here)
    if here == there:
        warm_start(model, archive, AdamssSpec(), None, SOURCE, Recorder())
        assert all(layer.has_frozen_bias("default") for layer in layers_of(model).values())
        return
    with pytest.raises(TrainingError, match=f"adamss.bias is {here} here and {there} there") as caught:
        warm_start(model, archive, AdamssSpec(), None, SOURCE, Recorder())
    assert (caught.value.code, caught.value.where) == ("init_from_unusable", "init_from")


@pytest.mark.filterwarnings("ignore:bias has no effect")
def test_without_biases_there_is_nothing_to_differ(tmp_path: Path) -> None:
    fields = config(target_modules=["q_proj"], task_type="CAUSAL_LM")
    source = give_effect(get_adamss_model(tiny_llama(), fields))
    model = get_adamss_model(tiny_llama(), fields, bias="frozen")
    warm_start(model, published(source, tmp_path), AdamssSpec(), None, SOURCE, Recorder())
    for name, layer in layers_of(model).items():
        assert torch.equal(layer.get_delta_weight("default"), layers_of(source)[name].get_delta_weight("default"))


@pytest.mark.filterwarnings("ignore:bias has no effect")
def test_modules_that_only_the_source_trains_in_full(tmp_path: Path) -> None:
    """PEFT alone would load them into the frozen base, of which nothing is saved."""
    fields = {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    source = give_effect(get_adamss_model(tiny_llama(), config(modules_to_save=["lm_head"], **fields)))
    model = get_adamss_model(tiny_llama(), config(**fields))
    with pytest.raises(TrainingError, match=r"weights of 'lm_head.weight', which this job does not train") as caught:
        warm_start(model, published(source, tmp_path), AdamssSpec(), None, SOURCE, Recorder())
    assert caught.value.code == "init_from_unusable"


@pytest.mark.parametrize("target", [5, 1])
def test_removed_subspaces_take_part_again_without_an_effect(target: int, tmp_path: Path) -> None:
    """With one left, most modules are not in the file at all."""
    fields = config(**ASA | {"asa_target_subspaces": target})
    source = give_effect(get_adamss_model(tiny_bert(), fields, asa_pruned="removed"))
    prune_half(source, torch.optim.SGD([p for p in source.parameters() if p.requires_grad], lr=0.1))
    model = get_adamss_model(tiny_bert(), fields, asa_pruned="removed")
    warm_start(model, published(source, tmp_path), AdamssSpec(), None, SOURCE, Recorder())
    assert (outputs(model) - outputs(source)).abs().max() < 1e-6
    assert adapter_size(model) == adapter_size(source)
    assert model.base_model.asa_summary()["active"] == 16
    fresh = layers_of(get_adamss_model(tiny_bert(), fields))
    removed = 0
    for name, layer in layers_of(model).items():
        state = layers_of(source)[name].asa_state("default")
        assert state is not None
        pairs = layer.layouts["default"].unpack(*layer.packed("default"))
        own = fresh[name].layouts["default"].unpack(*fresh[name].packed("default"))
        for (a, b), (first, _), active in zip(pairs, own, state.active.tolist(), strict=True):
            assert active or (torch.equal(a, first) and not b.any())
            removed += not active
    assert removed == 16 - target
