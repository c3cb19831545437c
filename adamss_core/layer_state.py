"""Convert a layer's state to stock PEFT's file format, and back.

Stock PEFT writes `adamss_A.<k>`, `adamss_B.<k>` and `adamss_newB`. Ours adds `adamss_rows` (the subspace of each row),
`adamss_sketch` (the sketch of the base weight) and `adamss_asa.*`, which stock PEFT ignores. As hooks on the layer's
state dict, these functions take part whenever PEFT or transformers saves or loads an adapter.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adamss_core.errors import BaseMismatchError, PlacementError, TensorShapeError
from adamss_core.layer import HALF_PRECISION, AdamssLayer
from adamss_core.layout import SubspaceLayout
from adamss_core.weight_sketch import relative_distance

# Largest relative difference between a stock file's basis and this base's that still counts as the same basis.
SAME_BASIS = 1e-3
SAME_BASIS_ROUNDED = 4e-3  # where the file's basis was rounded to half precision


def unpack_layer_state(layer: AdamssLayer, state_dict: dict[str, Tensor], prefix: str, _: Any) -> None:
    """Unpack A and B into one of each per subspace and add ASA's state (a state-dict post-hook)."""
    for adapter, layout in layer.layouts.items():
        for name in ("adamss_A", "adamss_B"):
            # FullyShardedDataParallel asks for each parameter that it holds by its name; a file's reader drops it.
            if not getattr(getattr(layer, name)[adapter], "_fsdp_flattened", False):
                state_dict.pop(f"{prefix}{name}.{adapter}", None)
        packed_a, packed_b = layer.packed(adapter)
        for k, (a, b) in enumerate(layout.whole.unpack(packed_a, layout.fill(packed_b))):
            state_dict[f"{prefix}adamss_A.{adapter}.{k}"] = a.clone()
            state_dict[f"{prefix}adamss_B.{adapter}.{k}"] = b.clone()
        state = layer.asa_state(adapter)
        if state is not None:
            for name, value in state.export(layout).items():
                state_dict[f"{prefix}adamss_asa.{adapter}.{name}"] = value


def load_layer_state(layer: AdamssLayer, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take an adapter's tensors out of `state_dict`, check and install them (a load pre-hook).

    Raises:
        TensorShapeError, BaseMismatchError, PlacementError, AsaStateError
    """
    includes_base = f"{prefix}base_layer.weight" in state_dict
    for adapter in layer.layouts:
        if f"{prefix}adamss_A.{adapter}.0" not in state_dict:
            continue
        tensors = _take(state_dict, prefix, adapter)
        if "sketch" in tensors and not includes_base:
            _check_base(layer, tensors["sketch"])
        _install(layer, adapter, tensors)
        # Leave torch's own loading the tensors that are installed by now.
        for name in ("adamss_A", "adamss_B", "adamss_newB", "adamss_rows", "adamss_sketch"):
            state_dict[f"{prefix}{name}.{adapter}"] = getattr(layer, name)[adapter].detach()


def _take(state_dict: dict[str, Any], prefix: str, adapter: str) -> dict[str, Any]:
    """Remove one adapter's tensors from `state_dict`.

    Returns:
        The tensors, keyed `a`, `b` (lists), `basis`, `rows`, `sketch` and `asa`.

    PEFT puts the adapter's name only into keys that a fresh model has too. Other keys of the file (ASA's averages
    between two mask steps, further subspaces) arrive without it and belong to the one adapter in the file.
    """

    def pop(name: str, suffix: str = "") -> Any:
        without = state_dict.pop(f"{prefix}{name}{suffix}", None)
        return state_dict.pop(f"{prefix}{name}.{adapter}{suffix}", without)

    taken: dict[str, Any] = {"a": [], "b": [], "asa": {}}
    for name, target in (("adamss_A", taken["a"]), ("adamss_B", taken["b"])):
        while (value := pop(name, f".{len(target)}")) is not None:
            target.append(value)
    for name, key in (("basis", "adamss_newB"), ("rows", "adamss_rows"), ("sketch", "adamss_sketch")):
        if (value := pop(key)) is not None:
            taken[name] = value
    asa_prefix = f"{prefix}adamss_asa."
    for key in [key for key in state_dict if key.startswith(asa_prefix)]:
        owner, _, name = key.removeprefix(asa_prefix).rpartition(".")
        if owner in ("", adapter):
            taken["asa"][name] = state_dict.pop(key)
    return taken


def _check_base(layer: AdamssLayer, saved: Tensor) -> None:
    current = layer.base_record()
    if saved.shape != current.shape:
        raise _wrong_shape(layer, "adamss_sketch", saved.shape, current.shape)
    gap, allowed = relative_distance(saved, current)
    if not gap <= allowed:
        raise BaseMismatchError(
            f"The adapter was trained on another base model: '{layer.module_name}' differs by {gap:.2%}, where "
            f"rounding explains at most {allowed:.2%}.",
            hint="Load the base model and revision it was trained on, or pass allow_other_base=True to "
            "adamss_core.load_adapter if the difference is meant.",
            where=layer.module_name,
        )


def _install(layer: AdamssLayer, adapter: str, tensors: dict[str, Any]) -> None:
    current = layer.layouts[adapter]
    device, dtype = layer.get_base_layer().weight.device, layer.adamss_A[adapter].dtype
    a_list: list[Tensor] = tensors["a"]
    b_list: list[Tensor] = tensors["b"]
    basis: Tensor = tensors.get("basis", layer.adamss_newB[adapter])
    if basis.dim() != 2 or basis.shape[1] != layer.adamss_newB[adapter].shape[1]:
        raise _wrong_shape(layer, "adamss_newB", basis.shape, layer.adamss_newB[adapter].shape)
    if len(a_list) != len(b_list):
        raise _wrong_shape(layer, "adamss_B", (len(b_list), "subspaces"), (len(a_list), "subspaces"))
    for k, (a, b) in enumerate(zip(a_list, b_list, strict=True)):
        if a.dim() != 2 or a.shape[1] != basis.shape[0]:  # of rank 0 where it was removed
            raise _wrong_shape(layer, f"adamss_A.{k}", a.shape, ("rank", basis.shape[0]))
        if b.dim() != 2 or b.shape[1] != a.shape[0]:
            raise _wrong_shape(layer, f"adamss_B.{k}", b.shape, ("rows", a.shape[0]))
    sizes, ranks = tuple(b.shape[0] for b in b_list), tuple(a.shape[0] for a in a_list)
    if "rows" in tensors:
        layout = SubspaceLayout.of_stored(tensors["rows"], ranks)
        _check_rows(layer, layout, sizes)
    else:
        _check_placement(layer, adapter, basis, sizes)
        layout = SubspaceLayout(rows=current.rows, ranks=ranks)
    packed_a = torch.cat(a_list).to(device, dtype)
    packed_b = torch.cat([b.reshape(-1) for b in b_list]).to(device, dtype)
    packed_b = _trained_part(layer, layout, packed_b)
    layer.install(adapter, basis.to(device, dtype), layout, packed_a, packed_b)
    if "sketch" in tensors:
        layer.adamss_sketch[adapter] = tensors["sketch"].cpu()
    if tensors["asa"] and layer.asa_state(adapter) is not None:
        layer.restore_asa(adapter, tensors["asa"])


def _check_rows(layer: AdamssLayer, layout: SubspaceLayout, sizes: tuple[int, ...]) -> None:
    rows = layout.rows
    if rows.shape != (layer.out_features,):
        raise _wrong_shape(layer, "adamss_rows", rows.shape, (layer.out_features,))
    counts = layout.sizes if bool((rows < len(sizes)).all()) else ("out of range",)
    if counts != sizes:
        raise _wrong_shape(layer, "adamss_rows", counts, sizes)


def _trained_part(layer: AdamssLayer, layout: SubspaceLayout, whole: Tensor) -> Tensor:
    """Return packed B without the rows that are not trained, which the file has as zeros."""
    if layout.trained is None:
        return whole
    trained = layout.trained_elements().to(whole.device)
    if bool(whole[~trained].any()):
        raise TensorShapeError(
            f"'{layer.module_name}.adamss_rows' leaves out rows whose B is not zero.",
            hint="The file was altered: get it again.",
            where=f"{layer.module_name}.adamss_rows",
        )
    return whole[trained]


def _check_placement(layer: AdamssLayer, adapter: str, basis: Tensor, sizes: tuple[int, ...]) -> None:
    """Raise PlacementError unless this base gives the decomposition that a stock file came from.

    A stock file does not record which rows a B_k belongs to.
    """
    weight: Tensor = layer.get_base_layer().weight
    if layer.quantization_backend is not None or weight.dtype in HALF_PRECISION:
        kind = "quantised" if layer.quantization_backend is not None else str(weight.dtype).removeprefix("torch.")
        raise _uncertain(layer, f"this base is {kind}, whose rows cluster differently from the base it was trained on")
    own = layer.adamss_newB[adapter].float().cpu()
    given = basis.float().cpu()
    if given.shape != own.shape:
        raise _wrong_shape(layer, "adamss_newB", given.shape, own.shape)
    rounded = any(torch.equal(given.to(half).float(), given) for half in HALF_PRECISION)
    gap = float(((given - own).norm(dim=1) / own.norm(dim=1)).max())
    if not gap <= (SAME_BASIS_ROUNDED if rounded else SAME_BASIS):
        raise _uncertain(layer, f"its basis differs by {gap:.1%} from the one computed from this base")
    if sizes != layer.layouts[adapter].sizes:
        raise _uncertain(layer, "its subspaces have other sizes than the ones found in this base")


def _uncertain(layer: AdamssLayer, reason: str) -> PlacementError:
    return PlacementError(
        f"The adapter was written by stock PEFT, which does not save which rows a subspace has, and they cannot be "
        f"found with certainty for '{layer.module_name}': {reason}.",
        hint="Load it on the fp32 base model it was trained on and save it again with adamss_core.save_adapter; "
        "that file can be loaded in any precision.",
        where=layer.module_name,
    )


def _wrong_shape(layer: AdamssLayer, tensor: str, shape: Any, expected: Any) -> TensorShapeError:
    return TensorShapeError(
        f"Tensor '{layer.module_name}.{tensor}' has shape {tuple(shape)}, but {tuple(expected)} is needed.",
        hint="The adapter was made for another model or its files were altered: use the base model it was trained on, "
        "or get the files again.",
        where=f"{layer.module_name}.{tensor}",
    )
