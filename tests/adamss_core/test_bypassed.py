"""Modules whose weight is read without calling them are refused as targets, by their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import MambaConfig, MambaForCausalLM

from adamss_core import get_adamss_model, load_adapter, save_adapter
from adamss_core.bypassed import KNOWN, bypassed_modules
from adamss_core.errors import AdamssWarning, BypassedTargetError
from adamss_core.inspection import linear_modules
from adamss_core.model import AdamssModel
from adamss_core.spec import AdamssSpec, ModelFacts, SpecProblem, match_targets
from tests.adamss_core.support import give_effect, layers_of, mlp_config


class Encoder(nn.Module):
    """A block of torch's own; with `batch_first` its evaluation goes through a fused kernel."""

    def __init__(self, *, batch_first: bool = True) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out


class CallingAttention(nn.MultiheadAttention):
    """Attention of a user's own that does call its projection."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        out: Tensor = self.out_proj(x)
        return out


def small_config(*targets: str) -> Any:
    return mlp_config(target_modules=list(targets), r=4, num_subspaces=2)


def mamba(layers: int = 1) -> MambaForCausalLM:
    torch.manual_seed(0)
    return MambaForCausalLM(
        MambaConfig(vocab_size=20, hidden_size=16, state_size=4, num_hidden_layers=layers, time_step_rank=4)
    )


def test_known_modules_are_refused_with_all_their_names() -> None:
    base = Encoder()
    with pytest.raises(BypassedTargetError, match=r"'block\.self_attn\.out_proj', 'block\.linear1'") as caught:
        get_adamss_model(base, small_config("out_proj", "linear1"))
    assert "MultiheadAttention and TransformerEncoderLayer" in caught.value.message
    assert "Leave out_proj, linear1 out of target_modules" in caught.value.hint
    assert type(base.block.linear1) is nn.Linear
    with pytest.raises(BypassedTargetError, match=r"'backbone\.layers\.2\.mixer\.dt_proj' and 1 more"):
        get_adamss_model(mamba(4), small_config("in_proj", "dt_proj"))


def test_modules_that_are_called_are_adapted() -> None:
    model = get_adamss_model(Encoder(batch_first=False), small_config("linear1", "linear2"))
    assert len(layers_of(model)) == 2
    model = get_adamss_model(nn.Sequential(CallingAttention(16, 2)), small_config("out_proj"))
    assert list(layers_of(model)) == ["0.out_proj"]
    assert list(layers_of(get_adamss_model(mamba(), small_config("in_proj")))) == ["backbone.layers.0.mixer.in_proj"]


def test_a_second_adapter_is_refused_too() -> None:
    model = get_adamss_model(mamba(), small_config("in_proj"))
    with pytest.raises(BypassedTargetError, match="dt_proj"):
        model.add_adapter("second", small_config("dt_proj"))


def test_an_older_adapter_is_loaded_for_use_but_not_for_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr("adamss_core.model.check_called", lambda *_, **__: None)
        save_adapter(get_adamss_model(mamba(), small_config("in_proj", "dt_proj")), tmp_path)
    with pytest.warns(AdamssWarning, match="dt_proj"):
        assert isinstance(load_adapter(mamba(), tmp_path, is_trainable=False).base_model, AdamssModel)
    with pytest.raises(BypassedTargetError, match="dt_proj"):
        load_adapter(mamba(), tmp_path)


def test_a_dry_run_finds_them_in_the_facts_of_a_model() -> None:
    with torch.device("meta"):
        modules = linear_modules(mamba())
    kinds = {module["name"]: module["kind"] for module in modules}
    facts = ModelFacts.model_validate(
        {"model_type": "mamba", "parameters": 1, "linear_modules": modules, "modules": kinds}
    )
    assert {module.name.rpartition(".")[2]: module.bypassed_by for module in facts.linear_modules} == {
        "in_proj": None,
        "x_proj": "MambaMixer",
        "dt_proj": "MambaMixer",
        "out_proj": "MambaMixer",
        "lm_head": None,
    }
    assert match_targets(AdamssSpec(target_modules=["in_proj"]), facts)
    with pytest.raises(SpecProblem, match=r"'backbone\.layers\.0\.mixer\.dt_proj', whose weight MambaMixer") as caught:
        match_targets(AdamssSpec(target_modules=["in_proj", "dt_proj"]), facts)
    assert (caught.value.code, caught.value.param) == ("target_without_effect", "adamss.target_modules")


@pytest.mark.parametrize(
    ("make", "target", "inputs"),
    [
        (Encoder, "out_proj", {"x": torch.ones(3, 5, 16)}),
        (Encoder, "linear1", {"x": torch.ones(3, 5, 16)}),
        (mamba, "dt_proj", {"input_ids": torch.tensor([[1, 2, 3]])}),
    ],
)
def test_an_adapter_there_would_have_no_effect(
    make: Any, target: str, inputs: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make()
    assert target in {name.rpartition(".")[2] for name in bypassed_modules(base)}
    monkeypatch.setattr("adamss_core.model.check_called", lambda *_, **__: None)
    model = give_effect(get_adamss_model(base, small_config(target))).eval()
    with torch.no_grad():
        adapted = model(**inputs)
        with model.disable_adapter():
            plain = model(**inputs)
    for one, other in zip(*(out.values() if isinstance(out, dict) else [out] for out in (adapted, plain)), strict=True):
        assert not isinstance(one, Tensor) or torch.equal(one, other)


# A weight as an argument or a factor, unlike its dtype, its shape or its initial values.
READ = re.compile(r"(?<=[ (\[=])self\.(\w+)\.weight(?=,$| @|\.t\(\), |\], )", re.MULTILINE)
CLASS = re.compile(r"^class (\w+)", re.MULTILINE)


@pytest.mark.compat
def test_the_known_modules_are_those_that_transformers_reads() -> None:
    found: dict[str, set[str]] = {}
    for path in (Path(transformers.__file__).parent / "models").glob("*/modeling_*.py"):
        source = path.read_text(encoding="utf-8")
        owners = [(match.start(), match[1]) for match in CLASS.finditer(source)]
        for read in READ.finditer(source):
            if f"self.{read[1]} = nn.Linear" in source:
                owner = [name for start, name in owners if start < read.start()][-1]
                found.setdefault(f"transformers.{owner}", set()).add(read[1])
    assert found == {name: set(children) for name, children in KNOWN.items() if name.startswith("transformers.")}
