"""Embeddings that were resized after the base was loaded travel with the adapter: their new rows are random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaForCausalLM

from adamss_core import export_lora, get_adamss_model, load_adapter, merge_adapter, save_adapter
from adamss_core.errors import AdapterFileError, TensorShapeError
from tests.adamss_core.support import give_effect
from tests.models import VOCABULARY, Mlp, config, tiny_bert, tiny_llama

ROWS = VOCABULARY + 4
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module", params=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with tied or untied output embeddings."""
    path = tmp_path_factory.mktemp("base")
    config = tiny_llama().config
    config.tie_word_embeddings = request.param == "tied"
    LlamaForCausalLM(config).save_pretrained(path)
    return path


def base(folder: Path, rows: int | None = ROWS) -> Any:
    """The base as its user has it: each time with other values in the rows that are new."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    if rows is not None:
        model.resize_token_embeddings(rows)
    return model.eval()


def adapted(model: Any) -> PeftModel:
    return give_effect(get_adamss_model(model, config(target_modules=["q_proj"], task_type="CAUSAL_LM"))).eval()


@torch.no_grad()
def logits(model: Any) -> Tensor:
    out: Tensor = model(input_ids=torch.tensor([[5, VOCABULARY, ROWS - 1, 7]])).logits
    return out


def test_adapter_and_lora_give_equal_logits_on_the_base(folder: Path, tmp_path: Path) -> None:
    model = adapted(base(folder))
    expected = logits(model)
    save_adapter(model, tmp_path / "adapter")
    export_lora(model, tmp_path / "lora")
    assert torch.equal(logits(load_adapter(base(folder), tmp_path / "adapter", is_trainable=False)), expected)
    assert torch.equal(logits(load_adapter(base(folder, None), tmp_path / "adapter", is_trainable=False)), expected)
    for name in ("adapter", "lora"):
        stock = PeftModel.from_pretrained(base(folder), tmp_path / name).eval()
        assert torch.allclose(logits(stock), expected, atol=1e-4)
    assert torch.allclose(logits(merge_adapter(model)), expected, atol=1e-4)


def test_tied_embeddings_are_saved_once(folder: Path, tmp_path: Path) -> None:
    model = adapted(base(folder))
    tied = model.get_base_model().config.tie_word_embeddings
    save_adapter(model, tmp_path)
    saved = [name for name in load_file(tmp_path / WEIGHTS) if "adamss_" not in name]
    assert len(saved) == (1 if tied else 2)


def test_embeddings_of_the_base_itself_are_not_saved(folder: Path, tmp_path: Path) -> None:
    save_adapter(adapted(base(folder, None)), tmp_path / "loaded")
    save_adapter(adapted(tiny_llama()), tmp_path / "made")  # from no folder
    for name in ("loaded", "made"):
        assert all("adamss_" in key for key in load_file(tmp_path / name / WEIGHTS))


def test_embeddings_of_a_classifier_travel_beside_its_head(tmp_path: Path) -> None:
    tiny_bert().save_pretrained(tmp_path / "base")

    def classifier(rows: int) -> Any:
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
        model.resize_token_embeddings(rows)
        return model.eval()

    model = give_effect(get_adamss_model(classifier(ROWS), config())).eval()
    save_adapter(model, tmp_path / "adapter")
    loaded = load_adapter(classifier(ROWS), tmp_path / "adapter", is_trainable=False)
    assert torch.equal(logits(loaded), logits(model))


def test_a_failed_load_leaves_the_embeddings_as_they_were(folder: Path, tmp_path: Path) -> None:
    save_adapter(adapted(base(folder)), tmp_path)
    (tmp_path / "adapter_config.json").write_text(
        (tmp_path / "adapter_config.json").read_text().replace("q_proj", "o_proj")
    )
    (tmp_path / "adamss_manifest.json").unlink()
    model = base(folder, None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(AdapterFileError, match="no complete tensors"):
        load_adapter(model, tmp_path)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert model.config.vocab_size == VOCABULARY


def test_a_base_that_cannot_be_resized(tmp_path: Path) -> None:
    class Embedding(Mlp):
        def get_input_embeddings(self) -> Any:
            return self.first

    model = get_adamss_model(Embedding(), config(target_modules=["second"], task_type=None))
    save_adapter(model, tmp_path)
    tensors = load_file(tmp_path / WEIGHTS) | {"base_model.model.first.weight": torch.zeros(40, 32)}
    save_file(tensors, tmp_path / WEIGHTS)
    (tmp_path / "adamss_manifest.json").unlink()
    with pytest.raises(TensorShapeError, match=r"token embeddings have \[40\] rows"):
        load_adapter(Embedding(), tmp_path)
