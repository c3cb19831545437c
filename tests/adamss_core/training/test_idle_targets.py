"""Adapters that no gradient reaches end a run; those with a zero gradient, or waiting for their turn, do not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers.models.bert.modeling_bert import BertIntermediate
from transformers.models.llama.modeling_llama import LlamaMLP

from adamss_core import get_adamss_model
from adamss_core.training.errors import TrainingError
from adamss_core.training.idle_targets import IdleTargets
from adamss_core.training.run import run
from tests.adamss_core.support import layers_of, mlp_config, prune_half
from tests.adamss_core.training.chats import build_llama, chats, generation_job
from tests.adamss_core.training.support import Recorder, job, request


class Experts(nn.Module):
    """Layers of experts of which each input reaches one; the scale may be zero, the read bypasses the module."""

    def __init__(self, *, layers: int = 2, experts: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate = nn.Linear(16, 16)
        self.layers = nn.ModuleList(nn.ModuleList(nn.Linear(16, 16) for _ in range(experts)) for _ in range(layers))
        self.head = nn.ModuleDict({"gate": nn.Linear(16, 16)})
        self.config = SimpleNamespace(layerdrop=0.0)
        self.scale = 1.0

    def forward(self, x: Tensor, routes: list[int], *, read: bool = False, head: bool = True) -> Tensor:
        x = self.scale * (F.linear(x, self.gate.weight) if read else self.gate(x))
        for layer, route in zip(self.layers, routes, strict=True):
            x = checkpoint(layer.get_submodule(str(route)), x, use_reentrant=False)
        return self.head["gate"](x) if head else x


def adapted(**fields: Any) -> PeftModel:
    targets = r"gate|head\.gate|layers\.\d+\.\d+"
    return get_adamss_model(Experts(), mlp_config(target_modules=targets, r=4, num_subspaces=2, **fields))


def watch(model: PeftModel, recorder: Recorder | None = None) -> IdleTargets:
    return IdleTargets(model, "default", recorder or Recorder())


def backward(model: PeftModel, routes: list[int], **options: bool) -> None:
    model.zero_grad()
    model(torch.ones(3, 16), routes, **options).sum().backward()


def refusal(idle: IdleTargets, step: int = 1, *, last: bool = False) -> TrainingError:
    with pytest.raises(TrainingError) as caught:
        idle.look(step, last=last)
    assert (caught.value.code, caught.value.where) == ("target_without_effect", "adamss.target_modules")
    assert caught.value.deterministic
    return caught.value


@pytest.mark.parametrize("start", ["orthogonal", None])
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_zero_gradients_end_nothing(start: str | None, scale: float) -> None:
    model, recorder = adapted(init_weights=start), Recorder()
    model.get_base_model().scale = scale
    idle = watch(model, recorder)
    backward(model, [0, 1])
    assert bool(layers_of(model)["gate"].adamss_A["default"].grad.any()) == (scale > 0 and start is None)
    idle.look(1, last=False)
    assert recorder.events == []


def test_a_kind_without_any_gradient_ends_the_run_after_the_first_step() -> None:
    model = adapted()
    idle = watch(model)
    backward(model, [0, 0], read=True)
    error = refusal(idle)
    assert "'gate' got no gradient" in error.message
    assert "Leave gate out" in error.hint
    backward(model, [0, 0], head=False)
    error = refusal(watch(model))
    assert "'head.gate'" in error.message
    assert "Leave head.gate out" in error.hint  # `gate` alone would leave out the other one too


def test_an_expert_may_wait_for_its_rows_and_is_reported_where_none_came() -> None:
    model, recorder = adapted(), Recorder()
    idle = watch(model, recorder)
    backward(model, [0, 1])
    idle.look(1, last=False)
    backward(model, [0, 0])
    idle.look(2, last=False)
    assert recorder.events == []
    idle.look(3, last=True)
    (name, message, data), *others = recorder.events
    assert (name, data, others) == ("targets_idle", {"step": 3, "modules": ["layers.0.1"], "count": 1}, [])
    assert "'layers.0.1'" in message
    model.zero_grad()
    idle.look(4, last=True)
    assert len(recorder.events) == 1


def test_where_layers_are_dropped_at_random_a_kind_has_until_the_first_evaluation() -> None:
    model = adapted()
    model.get_base_model().config.layerdrop = 0.5
    idle = watch(model)
    backward(model, [0, 0], read=True)
    idle.look(1, last=False)
    assert "'gate' got no gradient" in refusal(idle, 2, last=True).message


def test_pruned_subspaces_need_no_gradient() -> None:
    fields = {"use_asa": True, "asa_target_subspaces": 1, "init_warmup": 1, "final_warmup": 4, "mask_interval": 1}
    model = adapted(**fields)
    parameters = [p for p in model.parameters() if p.requires_grad]
    prune_half(model, torch.optim.AdamW(parameters, lr=0.01))
    assert sum(layer.adamss_A["default"].numel() == 0 for layer in layers_of(model).values()) == 5
    idle = watch(model)
    backward(model, [0, 0])
    idle.look(9, last=False)


# --- whole runs -------------------------------------------------------------------------------------------------------


def test_a_run_whose_model_reads_a_weight_ends_after_one_step(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: BertIntermediate, states: Tensor) -> Tensor:
        return self.intermediate_act_fn(F.linear(states, self.dense.weight, self.dense.bias))

    monkeypatch.setattr(BertIntermediate, "forward", read)
    recorder = Recorder()
    spec = job(adamss={"target_modules": ["query", "intermediate.dense"]})
    with pytest.raises(TrainingError, match=r"'bert\.encoder\.layer\.0\.intermediate\.dense'") as caught:
        run(request(model, tmp_path, spec=spec), recorder)
    assert caught.value.code == "target_without_effect"
    assert recorder.steps == []


def test_a_loss_that_depends_on_no_adapter_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: LlamaMLP, x: Tensor) -> Tensor:
        return F.linear(self.act_fn(self.gate_proj(x)) * self.up_proj(x), self.down_proj.weight)

    monkeypatch.setattr(LlamaMLP, "forward", read)
    model = build_llama(tmp_path / "model")
    spec = generation_job(adamss={"target_modules": ["down_proj"]})
    with pytest.raises(TrainingError, match=r"'model\.layers\.0\.mlp\.down_proj'") as caught:
        run(request(model, tmp_path / "run", chats(20), spec=spec), Recorder())
    assert caught.value.code == "target_without_effect"
