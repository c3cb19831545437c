"""Adapter files: PEFT's two files, plus a manifest with checksums.

`adapter_model.safetensors` holds stock PEFT's tensors and, beside them, the row placement, sketches of the base
weights and ASA's state, so that no copy of the folder can lose them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import peft
import safetensors.torch
import torch
from peft import AdamssConfig, PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import PeftType
from torch import Tensor, nn

from adamss_core.compiled import original, plain_name
from adamss_core.config import DEFAULT_ADAPTER
from adamss_core.decomposition import Decomposition, decompose
from adamss_core.decomposition_cache import CacheFolder
from adamss_core.embeddings import fitted_embeddings, resized_embeddings
from adamss_core.errors import AdapterFileError, TargetError, TensorShapeError
from adamss_core.exact_targets import narrowed
from adamss_core.fileio.atomic import write_atomically
from adamss_core.layout import SubspaceLayout
from adamss_core.model import AdamssModel, DecomposeFunction, decompose_with_cache
from adamss_core.peft_model import adaptable, build_peft_model, restored_on_error
from adamss_core.removal import emptied, finish_removal, removes_pruned

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
MANIFEST = "adamss_manifest.json"
KEY_PREFIX = "base_model.model."
WEIGHTS_BASIS = "weights"  # PEFT's; `calibration` makes others


def save_adapter(
    model: PeftModel, folder: str | Path, adapter_name: str | None = None, *, leave_out_emptied: bool = False
) -> None:
    """Write one adapter; each file appears whole or not at all, the manifest last.

    Token embeddings that were resized after the base was loaded are part of it.

    Args:
        model: compiled or not, the files are the same.
        folder: created if needed. Stock PEFT loads it too.
        adapter_name: the active adapter by default.
        leave_out_emptied: write no module of which ASA has removed every subspace, and other `target_modules` then.
            A training that continues from such a file has these modules no more.
    """
    model = original(model)
    adapter = adapter_name or active_adapter(model)
    layers = model.base_model.adapted_layers(adapter)
    left_out = [name for name, layer in layers.items() if leave_out_emptied and emptied(layer, adapter)]
    files = {
        WEIGHTS: safetensors.torch.save(_without(left_out, adapter_tensors(model, adapter)), metadata={"format": "pt"}),
        CONFIG: config_json(model, narrowed(model, adapter, left_out)),
    }
    manifest = {
        "format": "adamss-adapter",
        "version": 1,
        "bias": "frozen" if has_frozen_biases(model, adapter) else "trained",
        "asa_pruned": "removed" if removes_pruned(layers, adapter) else "frozen",
        "basis": model.base_model.basis_kinds.get(adapter, WEIGHTS_BASIS),
        **({"emptied_modules": left_out} if left_out else {}),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "peft": peft.__version__,
        "torch": torch.__version__,
    }
    write_folder(Path(folder), {**files, MANIFEST: to_json(manifest)})


def _without(modules: list[str], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefixes = tuple(f"{KEY_PREFIX}{name}.adamss_" for name in modules)
    return {key: value for key, value in tensors.items() if not key.startswith(prefixes)}


def load_adapter(
    base_model: nn.Module,
    folder: str | Path,
    *,
    adapter_name: str = DEFAULT_ADAPTER,
    is_trainable: bool = True,
    allow_other_base: bool = False,
    decomposition_cache: CacheFolder | None = None,
) -> PeftModel:
    """Put a saved adapter on a base model of any precision, without an SVD for files written by this package.

    A base whose token embeddings have other rows than the adapter's is resized.

    Args:
        folder: written by `save_adapter`, by `PeftModel.save_pretrained` of our model, or by stock PEFT.
        is_trainable: leave it trainable, ASA's state included, so that training can continue.
        allow_other_base: load on another base than the adapter was trained on.
        decomposition_cache: used for stock PEFT's files, whose base must be decomposed again.

    Raises:
        AdapterFileError: the folder holds no adapter, or its files are damaged.
        TensorShapeError: a tensor does not fit the base.
        BaseMismatchError: another base; the message names the first module that differs.
        PlacementError: the rows of a stock file cannot be placed with certainty.
    """
    folder, base_model = Path(folder), adaptable(base_model)
    config = read_config(folder)
    tensors = read_weights(folder)
    config.inference_mode = not is_trainable
    if allow_other_base:
        tensors = {key: value for key, value in tensors.items() if not key.endswith(".adamss_sketch")}
    placed = any(key.endswith(".adamss_rows") for key in tensors)
    compute = decompose_with_cache(decomposition_cache)
    source = _from_file(tensors) if placed else _as_in_file(tensors, decomposition_cache)
    with fitted_embeddings(base_model, tensors, KEY_PREFIX), restored_on_error(base_model):
        model = build_peft_model(base_model, config, adapter_name, source)
        model.base_model.decompose = compute  # for adapters that are added later
        model.base_model.basis_kinds[adapter_name] = read_basis_kind(folder)
        try:
            check_complete(model, adapter_name, tensors)
            set_peft_model_state_dict(model, tensors, adapter_name=adapter_name)
        except (KeyError, RuntimeError) as error:
            raise AdapterFileError(
                f"The weights in {folder} do not fit the base model: {error}",
                hint="Use the base model the adapter was trained on.",
                where=WEIGHTS,
            ) from error
    if not is_trainable:
        model.eval()
        finish_removal(model.base_model.adapted_layers(adapter_name), adapter_name)
    return model


def active_adapter(model: PeftModel) -> str:
    """Return the name of the one active adapter.

    Raises:
        AdapterFileError: the model is not one of ours.
    """
    if not isinstance(getattr(model, "base_model", None), AdamssModel):
        raise AdapterFileError(
            f"A {type(model).__name__} from elsewhere cannot be saved or exported here.",
            hint="Make the model with adamss_core.get_adamss_model or adamss_core.load_adapter.",
            where="model",
        )
    name: str = model.base_model.active_adapters[0]
    return name


def adapter_tensors(model: PeftModel, adapter: str) -> dict[str, Tensor]:
    """Return the adapter's tensors under PEFT's file keys, contiguous and on the CPU, none sharing memory."""
    state = get_peft_model_state_dict(model, adapter_name=adapter, save_embedding_layers=False)
    resized = resized_embeddings(model.get_base_model(), model.peft_config[adapter].revision)
    state |= {f"{KEY_PREFIX}{name}": value for name, value in resized.items()}
    return {plain_name(key): value.detach().cpu().contiguous().clone() for key, value in state.items()}


def has_frozen_biases(model: PeftModel, adapter: str) -> bool:
    """Return whether the adapter leaves all biases of its modules alone; an adapter of modules without one does not."""
    layers = model.base_model.adapted_layers(adapter).values()
    with_bias = [layer for layer in layers if layer.base_bias() is not None]
    return bool(with_bias) and all(layer.has_frozen_bias(adapter) for layer in with_bias)


def config_json(model: PeftModel, config: PeftConfig) -> bytes:
    """Return an adapter's adapter_config.json as `PeftModel.save_pretrained` writes it, marked for inference."""
    fields = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    fields["inference_mode"] = True
    fields.pop("runtime_config", None)
    if config.task_type is None:  # AutoPeftModel finds the base class by this then
        base = type(model.get_base_model())
        fields["auto_mapping"] = {"base_model_class": base.__name__, "parent_library": base.__module__}
    return to_json(fields)


def to_json(value: dict[str, Any]) -> bytes:
    """Encode a value as indented JSON with sorted keys."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder, each whole or not at all, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically({folder / name: content for name, content in files.items()})


def read_config(folder: Path) -> AdamssConfig:
    """Read an adapter's configuration.

    Raises:
        AdapterFileError: the folder is not an AdaMSS adapter.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise AdapterFileError(
            f"{folder} is not an adapter: it has no {CONFIG}.",
            hint="Give the folder that save_adapter or PEFT's save_pretrained wrote.",
            where=CONFIG,
        )
    content = _read_checked(path)
    try:
        fields = json.loads(content)
        kind = fields["peft_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise AdapterFileError(
            f"{path} is not a PEFT configuration ({error}).", hint="Get the file again.", where=CONFIG
        ) from error
    if kind != PeftType.ADAMSS.value:
        raise AdapterFileError(
            f"{folder} holds a {kind} adapter, not an AdaMSS one.",
            hint="Load it with peft.PeftModel.from_pretrained.",
            where=CONFIG,
        )
    try:
        config: AdamssConfig = AdamssConfig.from_peft_type(**fields)
    except (ValueError, TypeError) as error:
        raise AdapterFileError(
            f"{path} has values that AdamssConfig refuses: {error}", hint="Get the file again.", where=CONFIG
        ) from error
    return config


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read an adapter's tensors.

    Raises:
        AdapterFileError: the file is missing, pickled, truncated or differs from the manifest.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        raise AdapterFileError(
            f"{folder} has no {WEIGHTS}" + (", only a pickle, which is never loaded." if pickled else "."),
            hint="Save the adapter with safetensors and try again.",
            where=WEIGHTS,
        )
    content = _read_checked(path)
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise AdapterFileError(
            f"{path} is truncated or not a safetensors file ({error}).", hint="Get the file again.", where=WEIGHTS
        ) from error


def read_emptied_modules(folder: Path) -> list[str]:
    """Return the modules that an adapter was written without, because ASA has removed all of them."""
    manifest = folder / MANIFEST
    return json.loads(manifest.read_bytes()).get("emptied_modules", []) if manifest.is_file() else []


def read_basis_kind(folder: Path) -> str:
    """Return the origin of the basis of an adapter that was read: "weights", "inputs" or "gradient".

    PEFT's files have no manifest, and a basis of W.
    """
    manifest = folder / MANIFEST
    return json.loads(manifest.read_bytes()).get("basis", WEIGHTS_BASIS) if manifest.is_file() else WEIGHTS_BASIS


def _read_checked(path: Path) -> bytes:
    """Return a file's content, compared with the manifest beside it if there is one."""
    content, manifest = path.read_bytes(), path.with_name(MANIFEST)
    if not manifest.is_file():
        return content
    try:
        expected = json.loads(manifest.read_bytes())["sha256"][path.name]
    except (ValueError, KeyError, TypeError) as error:
        raise AdapterFileError(
            f"{manifest} is damaged ({error!r}).", hint="Get the files again.", where=MANIFEST
        ) from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise AdapterFileError(
            f"{path} is not the file that was saved: its sha256 differs from the one in {MANIFEST}.",
            hint=f"Get the files again; if it was changed on purpose, delete {MANIFEST}.",
            where=path.name,
        )
    return content


def _from_file(tensors: dict[str, Tensor]) -> DecomposeFunction:
    """Return a function that reads decompositions from an adapter's own tensors instead of computing them."""

    def read(module: str, weight: Tensor, bias: Tensor | None, config: AdamssConfig) -> Decomposition:
        prefix = f"{KEY_PREFIX}{module}."
        rows, basis = tensors.get(f"{prefix}adamss_rows"), tensors.get(f"{prefix}adamss_newB")
        parts: list[Tensor] = []
        while (key := f"{prefix}adamss_A.{len(parts)}") in tensors:
            parts.append(tensors[key])
        if rows is None or basis is None or not parts:
            raise AdapterFileError(
                f"The adapter has no complete tensors for '{module}', which its target_modules match.",
                hint="Use the base model the adapter was trained on, or get the files again.",
                where=module,
            )
        shape = (weight.shape[0], weight.shape[1] + (bias is not None))  # of [W | b]
        if (*rows.shape, *basis.shape[1:]) != shape:
            raise TensorShapeError(
                f"'{module}' is {shape} in this base, but the adapter was made for {(*rows.shape, *basis.shape[1:])}.",
                hint="Use the base model the adapter was trained on.",
                where=module,
            )
        for k, part in enumerate(parts):
            if part.dim() != 2 or part.shape[1] != basis.shape[0]:
                raise TensorShapeError(
                    f"'{module}.adamss_A.{k}' has shape {tuple(part.shape)}, but (rank, {basis.shape[0]}) is needed.",
                    hint="The file was altered: get it again.",
                    where=f"{module}.adamss_A.{k}",
                )
        layout = SubspaceLayout.of_stored(rows, tuple(part.shape[0] for part in parts))
        if rows.numel() and int(layout.rows.max()) >= len(parts):
            raise TensorShapeError(
                f"'{module}.adamss_rows' names subspaces that the adapter does not have.",
                hint="The file was altered: get it again.",
                where=f"{module}.adamss_rows",
            )
        device = weight.device
        return Decomposition(basis=basis.to(device), layout=layout, a=torch.cat(parts).to(device))

    return read


def _as_in_file(tensors: dict[str, Tensor], cache: CacheFolder | None) -> DecomposeFunction:
    """Return the decomposition for a file without rows, as stock PEFT writes: of W alone where its basis is."""

    def compute(module: str, weight: Tensor, bias: Tensor | None, config: AdamssConfig) -> Decomposition:
        basis = tensors.get(f"{KEY_PREFIX}{module}.adamss_newB")
        # Biases of zero alone make a column of zeros too.
        frozen = basis is not None and bias is not None and bool(bias.any()) and not bool(basis[:, -1].any())
        return decompose(module, weight, bias, config, cache, frozen_bias=frozen)

    return compute


def check_complete(model: PeftModel, adapter: str, tensors: dict[str, Tensor]) -> None:
    """Check that the file and the model have the same adapted modules.

    Raises:
        TargetError: the file has a module that is not adapted.
        AdapterFileError: an adapted module is not in the file.
    """
    names = {key.removeprefix(KEY_PREFIX).rpartition(".adamss_A.")[0] for key in tensors if ".adamss_A." in key}
    adapted = set(model.base_model.adapted_layers(adapter))
    if unknown := sorted(names - adapted):
        raise TargetError(
            f"The adapter has weights for '{unknown[0]}', which this base model does not have or does not target.",
            hint="Use the base model the adapter was trained on.",
            where=unknown[0],
        )
    if missing := sorted(adapted - names):
        raise AdapterFileError(
            f"The adapter has no weights for '{missing[0]}', which its target_modules match.",
            hint="Use the base model the adapter was trained on, or get the files again.",
            where=missing[0],
        )
