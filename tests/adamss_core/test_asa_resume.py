"""Stopping and going on, anywhere in the ramp, gives the bits of the run that was never stopped."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from adamss_core import load_adapter, save_adapter
from adamss_core.errors import AsaStateError
from tests.adamss_core.asa_training import (
    OPTIMIZERS,
    Training,
    active_set,
    asa_model,
    assert_same_state,
    layers_of,
    start,
    trainable,
)
from tests.marks import compat
from tests.models import batch, tiny_bert

pytestmark = pytest.mark.slow

END = 14
STOPS = [1, 2, 3, 4, 6, 8, 9, 11]  # before the ramp, at and between mask steps (3, 6, 9), after it

Reload = Callable[[PeftModel, Path], PeftModel]


def through_files(model: PeftModel, folder: Path) -> PeftModel:
    save_adapter(model, folder)
    return load_adapter(tiny_bert(), folder)


def through_state_dicts(model: PeftModel, _: Path) -> PeftModel:
    """A and B as stock PEFT's tensors, ASA's state apart from them."""
    tensors = {key: value for key, value in get_peft_model_state_dict(model).items() if "adamss_asa" not in key}
    fresh = asa_model(**_schedule(model))
    set_peft_model_state_dict(fresh, copy.deepcopy(tensors))
    fresh.base_model.load_asa_state_dict(copy.deepcopy(model.base_model.asa_state_dict()))
    return fresh


def through_torch(model: PeftModel, folder: Path) -> PeftModel:
    """The whole model's state dict, as a plain torch checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "checkpoint.pt")
    fresh = asa_model(**_schedule(model))
    fresh.load_state_dict(torch.load(folder / "checkpoint.pt", weights_only=True))
    return fresh


def _schedule(model: PeftModel) -> dict[str, Any]:
    names = ("asa_target_subspaces", "init_warmup", "final_warmup", "mask_interval")
    return {name: getattr(model.peft_config["default"], name) for name in names}


WAYS: dict[str, Reload] = {"files": through_files, "state-dicts": through_state_dicts, "torch": through_torch}


def resume(training: Training, name: str, reload: Reload, folder: Path) -> Training:
    """What a new process would do: a fresh model and a fresh optimizer, both loaded."""
    state = copy.deepcopy(training.optimizer.state_dict())
    model = reload(training.model, folder)
    optimizer = OPTIMIZERS[name](trainable(model))
    optimizer.load_state_dict(state)
    return Training(model, optimizer, hand_over=training.hand_over, before=training.before, done=training.done)


def check_resume(name: str, stop: int, way: str, folder: Path, *, hand_over: bool, **fields: Any) -> None:
    whole, stopped = (start(name, hand_over=hand_over, **fields) for _ in range(2))
    expected = whole.run(until=END)
    losses = stopped.run(until=stop)
    resumed = resume(stopped, name, WAYS[way], folder)
    assert_same_state(resumed.model, stopped.model)
    assert losses + resumed.run(until=END) == expected
    assert_same_state(resumed.model, whole.model)


CASES = [(stop, "files") for stop in STOPS] + [(stop, way) for stop in (4, 8) for way in ("state-dicts", "torch")]


@pytest.mark.parametrize("hand_over", [compat(False), True], ids=["alone", "handed"])
@pytest.mark.parametrize(("stop", "way"), CASES)
def test_resume_is_bit_identical(stop: int, way: str, hand_over: bool, tmp_path: Path) -> None:
    check_resume("adamw-foreach", stop, way, tmp_path, hand_over=hand_over)


@pytest.mark.parametrize("hand_over", [False, compat(True)], ids=["alone", "handed"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resume_with_every_optimizer(name: str, hand_over: bool, tmp_path: Path) -> None:
    check_resume(name, 7, "files", tmp_path, hand_over=hand_over)


@pytest.mark.parametrize("hand_over", [False, True], ids=["alone", "handed"])
@pytest.mark.parametrize("way", WAYS)
def test_resume_with_fully_pruned_layers(way: str, hand_over: bool, tmp_path: Path) -> None:
    """The new optimizer is made of what then asks for gradients; its groups must match the saved ones."""
    check_resume("adamw", 10, way, tmp_path, hand_over=hand_over, asa_target_subspaces=1, mask_interval=1)


def test_resume_twice_between_two_mask_steps(tmp_path: Path) -> None:
    whole, stopped = start(), start()
    expected = whole.run(until=END)
    losses = stopped.run(until=4)
    stopped = resume(stopped, "adamw", through_files, tmp_path / "first")
    losses += stopped.run(until=5)
    stopped = resume(stopped, "adamw", through_files, tmp_path / "second")
    assert losses + stopped.run(until=END) == expected
    assert_same_state(stopped.model, whole.model)


def test_going_back_to_an_earlier_state(tmp_path: Path) -> None:
    """The same live model takes an earlier checkpoint, from before anything was pruned and from the middle."""
    whole = start()
    expected = whole.run(until=END)
    training = start()
    training.run(until=2)
    early = copy.deepcopy((training.model.state_dict(), training.optimizer.state_dict()))
    training.run(until=7)
    middle = copy.deepcopy((training.model.state_dict(), training.optimizer.state_dict()))
    training.run(until=END)
    for (weights, state), done in ((middle, 7), (early, 2)):
        training.model.load_state_dict(weights)
        training.optimizer.load_state_dict(copy.deepcopy(state))
        training.done = done
        assert training.run(until=END) == expected[done:]
        assert_same_state(training.model, whole.model)


def test_a_deep_copy_in_the_middle_goes_its_own_way() -> None:
    whole, training = start(), start()
    expected = whole.run(until=END)
    training.run(until=4)
    twin = copy.deepcopy(training.model)
    training.run(until=END)
    assert len(active_set(training.model)) == 5 < len(active_set(twin))
    optimizer = OPTIMIZERS["adamw"](trainable(twin))
    assert Training(twin, optimizer, done=4).step().item() == expected[4]


def test_load_for_inference_has_the_same_outputs(tmp_path: Path) -> None:
    training = start()
    training.run(until=7)
    save_adapter(training.model, tmp_path)
    loaded = load_adapter(tiny_bert(), tmp_path, is_trainable=False)
    assert torch.equal(loaded(**batch()).logits, training.model.eval()(**batch()).logits)
    assert trainable(loaded) == []


def test_the_state_is_detached_from_the_model() -> None:
    training = start()
    training.run(until=4)
    state = training.model.base_model.asa_state_dict()
    before = copy.deepcopy(state)
    training.run(until=END)
    _assert_equal(state, before)


def _assert_equal(first: Any, second: Any) -> None:
    if isinstance(first, Tensor):
        assert torch.equal(first, second)
        return
    assert first.keys() == second.keys()
    for key, value in first.items():
        _assert_equal(value, second[key])


@pytest.mark.filterwarnings("ignore:.*while use_asa is false")
def test_a_model_without_asa_has_an_empty_state() -> None:
    model = asa_model(use_asa=False)
    assert model.base_model.asa_state_dict() == {}
    model.base_model.load_asa_state_dict({})


QUERY = "bert.encoder.layer.0.attention.self.query"


def _break(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(state: dict[str, Any]) -> None:
        if value is None:
            del state["default"][QUERY][name]
        else:
            state["default"][QUERY][name] = value

    return change


BAD_STATES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another adapter": (lambda s: s.update(other=s.pop("default")), "other"),
    "a module missing": (lambda s: s["default"].pop(QUERY), QUERY),
    "a module too many": (lambda s: s["default"].update(more=s["default"][QUERY]), "more"),
    "no masks": (_break("pruned_at", None), "pruned_at"),
    "masks of another K": (_break("pruned_at", torch.full((7,), -1)), "pruned_at"),
    "masks that are not steps": (_break("pruned_at", torch.tensor([-1, -2, -1, -1])), "pruned_at"),
    "masks in fractions": (_break("pruned_at", torch.zeros(4)), "pruned_at"),
    "no scores": (_break("score", None), "score"),
    "scores that are NaN": (_break("score", torch.full((4,), torch.nan)), "score"),
    "no shapes": (_break("compact", None), "compact"),
    "one average missing": (_break("uncertainty_b", None), "uncertainty_b"),
    "an average in another shape": (_break("importance_a", torch.zeros(3, 20)), "importance_a"),
    "an infinite average": (_break("importance_a", torch.full((8, 20), torch.inf)), "importance_a"),
    "not a tensor": (_break("score", [0.0] * 4), "score"),
    "not a dict of tensors": (lambda s: s["default"].update({QUERY: 3}), QUERY),
    "not a dict of modules": (lambda s: s.update(default=[1]), "dict"),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_bad_states_are_refused_and_change_nothing(case: str) -> None:
    training, other = start(), start(seed=1)
    training.run(until=7)
    state = training.model.base_model.asa_state_dict()
    change, blamed = BAD_STATES[case]
    change(state)
    other.run(until=4)
    before = copy.deepcopy(other.model)
    with pytest.raises(AsaStateError, match=blamed):
        other.model.base_model.load_asa_state_dict(state)
    assert_same_state(other.model, before)


@pytest.mark.parametrize("state", [None, [], "state"])
def test_a_state_of_another_type_is_refused(state: Any) -> None:
    with pytest.raises(AsaStateError, match="asa_state_dict"):
        asa_model().base_model.load_asa_state_dict(state)


@pytest.mark.filterwarnings("ignore:.*while use_asa is false")
def test_a_state_for_a_model_without_asa_is_refused() -> None:
    state = asa_model().base_model.asa_state_dict()
    with pytest.raises(AsaStateError, match="default"):
        asa_model(use_asa=False).base_model.load_asa_state_dict(state)


def test_a_state_of_another_number_of_subspaces_is_refused() -> None:
    state = asa_model(num_subspaces=3).base_model.asa_state_dict()
    model = asa_model()
    with pytest.raises(AsaStateError) as caught:
        model.base_model.load_asa_state_dict(state)
    assert caught.value.where in layers_of(model)
    assert caught.value.code == "invalid_asa_state"
