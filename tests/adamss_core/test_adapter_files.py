"""Files are written whole or not at all, and damaged ones are refused by name, with the base model left alone."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from adamss_core import export_lora, get_adamss_model, load_adapter, save_adapter
from adamss_core.errors import (
    AdamssError,
    AdapterFileError,
    AsaStateError,
    BaseMismatchError,
    ConfigError,
    PlacementError,
    TargetError,
    TensorShapeError,
)
from tests.adamss_core.support import ASA, adapted_mlp, assert_untouched, give_effect, outputs, prune_half, state_of
from tests.models import Mlp, config, tiny_bert

WEIGHTS, CONFIG, MANIFEST = "adapter_model.safetensors", "adapter_config.json", "adamss_manifest.json"
KEY = "base_model.model.first.adamss_"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model = adapted_mlp(**ASA)
    prune_half(model)
    save_adapter(model, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(folder: Path, kind: type[AdamssError], mentions: str) -> AdamssError:
    """Loads, expects exactly `kind`, and that message, hint and base model are as they should be."""
    base = Mlp()
    before = state_of(base)
    with pytest.raises(kind) as caught:
        load_adapter(base, folder)
    error = caught.value
    assert type(error) is kind
    assert mentions in str(error)
    assert error.hint in str(error)
    assert len(error.hint) > 10
    assert error.where is not None
    assert_untouched(base, before)
    return error


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None], *, keep_manifest: bool = False) -> None:
    """Alters tensors, as one who also drops the manifest that would tell."""
    tensors = load_file(folder / WEIGHTS)
    edit(tensors)
    save_file(tensors, folder / WEIGHTS)
    if not keep_manifest:
        (folder / MANIFEST).unlink()


def edit_config(folder: Path, *, keep_manifest: bool = False, **fields: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    if not keep_manifest:
        (folder / MANIFEST).unlink()


# --- writing ----------------------------------------------------------------------------------------------------------


def test_only_safetensors_and_json_readable_by_others(folder: Path) -> None:
    assert sorted(contents(folder)) == [MANIFEST, CONFIG, WEIGHTS]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    json.loads((folder / MANIFEST).read_text())


def test_same_adapter_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_adapter(adapted_mlp(), tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.parametrize("failing_call", [1, 2, 3])
def test_interrupted_write_leaves_the_old_adapter(
    failing_call: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(folder)
    calls = []
    real = os.fsync

    def full_disk(handle: int) -> None:
        calls.append(handle)
        if len(calls) == failing_call:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_adapter(adapted_mlp(seed=7), folder)
    assert contents(folder) == before
    monkeypatch.undo()
    save_adapter(adapted_mlp(seed=7), folder)
    assert contents(folder).keys() == before.keys()
    assert torch.equal(outputs(load_adapter(Mlp(), folder)), outputs(adapted_mlp(seed=7)))


def test_interrupt_between_renames_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.replace
    calls = []

    def interrupted(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_adapter(adapted_mlp(seed=7), folder)
    monkeypatch.undo()
    assert sorted(contents(folder)) == [MANIFEST, CONFIG, WEIGHTS]
    refused(folder, AdapterFileError, "is not the file that was saved")


def test_a_lora_export_does_not_replace_the_adapter(folder: Path) -> None:
    before = contents(folder)
    with pytest.raises(AdamssError, match="another folder"):
        export_lora(adapted_mlp(), folder)
    assert contents(folder) == before


def test_saving_a_model_from_elsewhere_is_refused(tmp_path: Path) -> None:
    lora = get_peft_model(Mlp(), LoraConfig(target_modules=["first"]))
    for call in (save_adapter, export_lora):
        with pytest.raises(AdapterFileError, match="get_adamss_model"):
            call(lora, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- reading ----------------------------------------------------------------------------------------------------------


def test_round_trip(saved: Path) -> None:
    base = Mlp()
    model = load_adapter(base, saved)
    expected = adapted_mlp(**ASA)
    prune_half(expected)
    assert torch.equal(outputs(model), outputs(expected))
    assert model.base_model.asa_summary() == expected.base_model.asa_summary()


def test_averages_in_the_middle_of_a_window_travel_too(tmp_path: Path) -> None:
    model = adapted_mlp(**{**ASA, "mask_interval": 10, "final_warmup": 20})
    for step in (1, 2, 3):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float(step)) if parameter.requires_grad else None
        model.base_model.update_and_allocate(step)
    save_adapter(model, tmp_path)
    saved = model.base_model.asa_state_dict()["default"]
    loaded = load_adapter(Mlp(), tmp_path, adapter_name="other").base_model.asa_state_dict()["other"]
    for name, tensors in saved.items():
        assert {"importance_a", "uncertainty_b"} <= tensors.keys() == loaded[name].keys()
        assert all(torch.equal(value, loaded[name][key]) for key, value in tensors.items())


def test_is_trainable_or_not(saved: Path) -> None:
    trained, frozen = load_adapter(Mlp(), saved), load_adapter(Mlp(), saved, is_trainable=False)
    assert trained.get_nb_trainable_parameters()[0] > 0
    assert frozen.get_nb_trainable_parameters()[0] == 0
    assert not frozen.training
    assert torch.equal(outputs(trained), outputs(frozen))


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_truncated(name: str, folder: Path) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(folder, AdapterFileError, name).where == name
    (folder / MANIFEST).unlink()  # as in a folder that PEFT wrote
    assert refused(folder, AdapterFileError, name).where == name


@pytest.mark.parametrize("position", [0, 4, 40, -1, -1000])
def test_one_flipped_bit(position: int, folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[position] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    assert refused(folder, AdapterFileError, "sha256").where == WEIGHTS


@pytest.mark.parametrize("position", [0, 7, 9])
def test_damaged_header_without_manifest(position: int, folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[position] = 0xFF
    (folder / WEIGHTS).write_bytes(content)
    (folder / MANIFEST).unlink()
    assert refused(folder, AdapterFileError, "truncated or not a safetensors file").where == WEIGHTS


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sha256": 5}', b'{"sha256": {}}', b"\xff\xfe"])
def test_damaged_manifest(content: bytes, folder: Path) -> None:
    (folder / MANIFEST).write_bytes(content)
    assert refused(folder, AdapterFileError, "is damaged").where == MANIFEST


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"r": 4}', b"\xff\xfe"])
def test_damaged_config(content: bytes, folder: Path) -> None:
    (folder / CONFIG).write_bytes(content)
    (folder / MANIFEST).unlink()
    assert refused(folder, AdapterFileError, "is not a PEFT configuration").where == CONFIG


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_missing_file(name: str, folder: Path) -> None:
    (folder / name).unlink()
    assert refused(folder, AdapterFileError, f"has no {name}").where == name


def test_not_an_adapter(tmp_path: Path) -> None:
    refused(tmp_path, AdapterFileError, "is not an adapter")
    refused(tmp_path / "missing", AdapterFileError, "is not an adapter")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", AdapterFileError, "is not an adapter")


def test_lora_folder(tmp_path: Path) -> None:
    get_peft_model(Mlp(), LoraConfig(target_modules=["first"])).save_pretrained(tmp_path)
    refused(tmp_path, AdapterFileError, "holds a LORA adapter")


def test_pickle_is_never_opened(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(folder / "exploded"),)

    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb()))
    refused(folder, AdapterFileError, "a pickle, which is never loaded")
    assert not (folder / "exploded").exists()


# --- tensors that do not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("A.1", (2, 11)),
        ("A.1", (3, 12)),
        ("A.0", (0, 12)),
        ("A.0", (12,)),
        ("B.2", (5, 2)),
        ("B.0", (40,)),
        ("newB", (12, 34)),
        ("newB", (11, 33)),
        ("newB", (12,)),
        ("rows", (31,)),
        ("rows", (32, 1)),
        ("sketch", (12,)),
    ],
)
def test_tensor_of_another_shape(name: str, shape: tuple[int, ...], folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"{KEY}{name}"] = torch.zeros(shape, dtype=tensors[f"{KEY}{name}"].dtype)

    edit_weights(folder, edit)
    error = refused(folder, TensorShapeError, "first")
    assert str(error.where).startswith("first")


@pytest.mark.parametrize("change", ["swap", "negative", "large"])
def test_tampered_rows(change: str, folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        rows = tensors[f"{KEY}rows"]
        rows[0] = {"swap": (int(rows[0]) + 1) % 3, "negative": -1, "large": 3}[change]

    edit_weights(folder, edit)
    assert refused(folder, TensorShapeError, "first.adamss_rows").where == "first.adamss_rows"


@pytest.mark.parametrize("name", ["A.0", "A.1", "B.1", "B.2", "newB", "rows"])
def test_missing_tensor(name: str, folder: Path) -> None:
    edit_weights(folder, lambda tensors: tensors.__delitem__(f"{KEY}{name}"))
    base = Mlp()
    before = state_of(base)
    with pytest.raises(AdapterFileError, match="first") as caught:
        load_adapter(base, folder)
    assert str(caught.value.where).startswith("first")
    assert_untouched(base, before)


def test_missing_module(folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if ".second." in key]:
            del tensors[key]

    edit_weights(folder, edit)
    assert refused(folder, AdapterFileError, "'second'").where == "second"


def test_unknown_module(folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if ".second." in key]:
            tensors[key.replace(".second.", ".third.")] = tensors[key].clone()

    edit_weights(folder, edit)
    assert refused(folder, TargetError, "'third'").where == "third"


@pytest.mark.parametrize("name", ["pruned_at", "score", "importance_a"])
def test_tampered_asa_state(name: str, folder: Path) -> None:
    edit_weights(folder, lambda tensors: tensors.update({f"{KEY}asa.{name}": torch.zeros(7, dtype=torch.int64)}))
    assert refused(folder, AsaStateError, "first").where == "first"


def test_tampered_sketch(folder: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"{KEY}sketch"].zero_()

    edit_weights(folder, edit)
    assert refused(folder, BaseMismatchError, "first").where == "first"


def test_rows_removed_from_every_module_makes_a_stock_file(folder: Path) -> None:
    """Which can still be placed: the base is the very one, in fp32."""

    def edit(tensors: dict[str, torch.Tensor]) -> None:
        for key in [key for key in tensors if key.endswith((".adamss_rows", ".adamss_sketch"))]:
            del tensors[key]

    expected = outputs(load_adapter(Mlp(), folder))
    edit_weights(folder, edit)
    assert torch.allclose(outputs(load_adapter(Mlp(), folder)), expected, atol=1e-6)
    with pytest.raises(PlacementError) as caught:
        load_adapter(Mlp(seed=1), folder)
    assert caught.value.where == "first"


def test_modules_to_save_of_another_shape(tmp_path: Path) -> None:
    save_adapter(give_effect(get_adamss_model(tiny_bert(), config())), tmp_path)
    edit_weights(tmp_path, lambda t: t.update({"base_model.model.classifier.weight": torch.zeros(5, 64)}))
    base = tiny_bert()
    before = state_of(base)
    with pytest.raises(AdapterFileError, match="classifier"):
        load_adapter(base, tmp_path)
    assert_untouched(base, before)


def test_modules_to_save_missing(tmp_path: Path) -> None:
    save_adapter(give_effect(get_adamss_model(tiny_bert(), config())), tmp_path)
    edit_weights(tmp_path, lambda tensors: tensors.__delitem__("base_model.model.classifier.weight"))
    base = tiny_bert()
    before = state_of(base)
    with pytest.raises(AdapterFileError, match=r"classifier\.weight"):
        load_adapter(base, tmp_path)
    assert_untouched(base, before)


# --- edited configs ---------------------------------------------------------------------------------------------------


def test_edited_config_is_noticed(folder: Path) -> None:
    edit_config(folder, subspace_rank=1, keep_manifest=True)
    error = refused(folder, AdapterFileError, f"delete {MANIFEST}")
    assert error.where == CONFIG


@pytest.mark.parametrize(
    ("fields", "kind", "mentions"),
    [
        ({"r": -1}, ConfigError, "r=-1"),
        ({"num_subspaces": "3"}, ConfigError, "num_subspaces='3'"),
        ({"svd_threshold": -2.0}, ConfigError, "svd_threshold=-2.0"),
        ({"asa_importance_beta": None}, ConfigError, "asa_importance_beta=None"),
        ({"target_modules": ["first"]}, TargetError, "'second'"),
        ({"target_modules": ["third"]}, TargetError, "first"),
        ({"mask_interval": 0}, AdapterFileError, "mask_interval"),
        ({"init_weights": "zeros"}, AdapterFileError, "init_weights"),
        ({"task_type": "NOTHING"}, AdapterFileError, "NOTHING"),
        ({"peft_type": "NOTHING"}, AdapterFileError, "NOTHING"),
    ],
)
def test_edited_config_without_manifest(
    fields: dict[str, Any], kind: type[AdamssError], mentions: str, folder: Path
) -> None:
    edit_config(folder, **fields)
    refused(folder, kind, mentions)


def test_the_base_can_be_used_after_a_refusal(folder: Path, saved: Path) -> None:
    """And gives the same outputs as if nothing had happened."""
    base = Mlp()
    edit_weights(folder, lambda tensors: tensors.update({f"{KEY}B.0": torch.zeros(1, 2)}))
    with pytest.raises(TensorShapeError):
        load_adapter(base, folder)
    assert torch.equal(outputs(base), outputs(Mlp()))
    assert torch.equal(outputs(load_adapter(base, saved)), outputs(load_adapter(Mlp(), saved)))


def test_a_head_beside_all_linear_layers_comes_back(tmp_path: Path) -> None:
    """ "all-linear" becomes a list of names when layers are found, and is saved as one, the head's name among them.

    Before: loading refused the list, as the head cannot be adapted and trained in full both.
    """
    model = get_adamss_model(tiny_bert(), config(target_modules="all-linear", modules_to_save=["classifier"]))
    give_effect(model)
    save_adapter(model, tmp_path)
    fields = json.loads((tmp_path / CONFIG).read_text())
    assert "classifier" not in fields["target_modules"]
    fields["target_modules"] = [*fields["target_modules"], "classifier"]  # as stock PEFT, and we, used to write it
    (tmp_path / CONFIG).write_text(json.dumps(fields))
    (tmp_path / MANIFEST).unlink()
    loaded = load_adapter(tiny_bert(), tmp_path, is_trainable=False)
    ids = torch.arange(6)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, model.eval()(ids).logits)


def test_a_replica_of_data_parallel_answers_alike() -> None:
    """Which holds its parameters as plain attributes. nn.DataParallel itself needs two GPUs."""
    model = adapted_mlp()

    torch.testing.assert_close(outputs(_replica(model)), outputs(model))


def _replica(module: torch.nn.Module) -> torch.nn.Module:
    """As torch.nn.parallel.replicate makes it, on the same device."""
    replica: torch.nn.Module = module._replicate_for_data_parallel()
    for name, value in module._parameters.items():
        object.__setattr__(replica, name, value)
    for name, child in module._modules.items():
        replica._modules[name] = None if child is None else _replica(child)
    return replica
