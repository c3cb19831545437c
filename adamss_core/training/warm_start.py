"""Start an adapter from the values of one that another run has published, or kept as a checkpoint (`init_from`)."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from peft import AdamssConfig, PeftModel, set_peft_model_state_dict
from torch import Tensor

from adamss_core.adapter_files import (
    CONFIG,
    KEY_PREFIX,
    MANIFEST,
    WEIGHTS,
    active_adapter,
    adapter_tensors,
    check_complete,
    read_config,
    read_emptied_modules,
    read_weights,
)
from adamss_core.errors import AdamssError
from adamss_core.model_parts import label_axes
from adamss_core.spec import AdamssSpec
from adamss_core.spec.class_names import SAME_DATA, match_classes
from adamss_core.training.base_model import Source
from adamss_core.training.class_head import reordered, report_fresh_head
from adamss_core.training.errors import TrainingError
from adamss_core.training.request import KeptCheckpoint, Reporter

ARTIFACT_MANIFEST = "manifest.json"
SHAPING = ("r", "num_subspaces", "subspace_rank", "use_dynamic_rank")  # fields that determine the shapes of A and B
CALIBRATED = ("basis", "row_share")  # in which, and for which rows, A and B are values


class Published(NamedTuple):
    """The published adapter that a run starts from.

    Attributes:
        tensors: without ASA's state.
        settings: with which it was trained.
        emptied: modules that it was written without, because ASA has removed all of them.
    """

    config: AdamssConfig
    tensors: dict[str, Tensor]
    classes: list[str]
    settings: AdamssSpec
    emptied: list[str]


def warm_start(
    model: PeftModel,
    start: Path | KeptCheckpoint,
    spec: AdamssSpec,
    auto_model: Any,
    source: Source,
    reporter: Reporter,
) -> None:
    """Replace a fresh adapter's values, basis, trained rows and head included, by a published adapter's.

    Every subspace is active again, pruned ones with the values they were pruned with, removed ones without an effect:
    the new run has its own schedule. The head's outputs are matched by the names of their classes; for other classes
    the head keeps its own start.

    Args:
        model: with a fresh adapter on the base that the published one was trained on.
        start: zip of the published adapter, or a checkpoint whose `folder` is that of its adapter.
        spec: that the job asks for; A and B mean nothing in another basis, or for other rows.
        auto_model: transformers' class for the task.

    Raises:
        TrainingError: init_from_unusable, where the zip holds no adapter, or its settings differ.
        BaseMismatchError: it was trained on another base.
    """
    published = _read_checkpoint(start) if isinstance(start, KeptCheckpoint) else _read(start)
    tensors = published.tensors
    adapter = active_adapter(model)
    config = model.peft_config[adapter]
    pairs = {field: (getattr(config, field), getattr(published.config, field)) for field in SHAPING}
    pairs |= {name: (getattr(spec, name), getattr(published.settings, name)) for name in CALIBRATED}
    for field, (here, there) in pairs.items():
        if here != there:
            raise unusable(
                f"adamss.{field} is {here} here and {there} there",
                "Give both jobs the same values, or leave init_from out.",
            )
    _check_bias(model, adapter, tensors)
    _check_saved_modules(model, adapter, tensors)
    try:
        tensors |= _revived(model, adapter, published)
        check_complete(model, adapter, tensors)
        if source.classes:
            tensors |= _head(model, tensors, published.classes, auto_model, source, reporter)
        set_peft_model_state_dict(model, tensors, adapter_name=adapter)
        model.base_model.basis_kinds[adapter] = spec.basis
    except (RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1][:200]
        raise unusable(f"its weights do not fit ({reason})", "Leave init_from out.") from error
    except AdamssError as error:
        if error.code == "base_mismatch":
            raise
        raise unusable(f"its modules differ: {error.message}", error.hint) from error


def _check_saved_modules(model: PeftModel, adapter: str, tensors: dict[str, Tensor]) -> None:
    """Check that modules trained in full are trained here, too: PEFT would load them into the frozen base, which no
    checkpoint and no adapter holds.

    Raises:
        TrainingError: init_from_unusable.
    """
    own = adapter_tensors(model, adapter)
    if foreign := sorted(key.removeprefix(KEY_PREFIX) for key in tensors if ".adamss_" not in key and key not in own):
        raise unusable(
            f"it has weights of {foreign[0]!r}, which this job does not train",
            "Give both jobs the same adamss.modules_to_save, or leave init_from out.",
        )


def _check_bias(model: PeftModel, adapter: str, tensors: dict[str, Tensor]) -> None:
    """Check that both adapters train the biases of their modules, or neither: the basis tells, and is taken over.

    Raises:
        TrainingError: init_from_unusable.
    """
    for name, layer in model.base_model.adapted_layers(adapter).items():
        basis = tensors.get(f"{KEY_PREFIX}{name}.adamss_newB")
        if layer.base_bias() is None or basis is None:
            continue
        here, there = layer.has_frozen_bias(adapter), not bool(basis[:, -1].any())
        if here != there:
            words = {True: "frozen", False: "trained"}
            raise unusable(
                f"adamss.bias is {words[here]} here and {words[there]} there",
                "Give both jobs the same value, or leave init_from out.",
            )


def _revived(model: PeftModel, adapter: str, published: Published) -> dict[str, Tensor]:
    """Return A and B of subspaces that were removed: the fresh adapter's A, and a B of zeros in the published shape.

    Modules of which everything was removed are the fresh adapter's, in its basis, with a B of zeros.
    """
    tensors = published.tensors
    removed = [key for key, value in tensors.items() if ".adamss_A." in key and value.shape[0] == 0]
    if not removed and not published.emptied:
        return {}
    own = adapter_tensors(model, adapter)
    prefixes = tuple(f"{KEY_PREFIX}{name}.adamss_" for name in published.emptied)
    revived = {key: value for key, value in own.items() if key.startswith(prefixes) and ".adamss_asa." not in key}
    for key in (*removed, *(key for key in revived if ".adamss_A." in key)):
        b = key.replace(".adamss_A.", ".adamss_B.")
        rows = tensors.get(b, own[b]).shape[0]
        revived |= {key: own[key], b: own[key].new_zeros(rows, own[key].shape[0])}
    return revived


def _head(
    model: PeftModel,
    tensors: dict[str, Tensor],
    classes: list[str],
    auto_model: Any,
    source: Source,
    reporter: Reporter,
) -> dict[str, Tensor]:
    """Return the head's tensors with an axis of classes, in the job's order; the model's own for other classes."""
    axes = {f"{KEY_PREFIX}{name}": axis for name, axis in label_axes(model.get_base_model().config, auto_model).items()}
    order = match_classes(classes, source.classes)
    if order is not None:
        return reordered({key: tensors[key] for key in axes}, axes, order)
    report_fresh_head(reporter, "The adapter that init_from names", classes, source.classes, SAME_DATA)
    own = adapter_tensors(model, active_adapter(model))
    return {key: own[key] for key in axes}


def _read(archive: Path) -> Published:
    """Read a published adapter.

    Raises:
        TrainingError: init_from_unusable.
    """
    try:
        with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(archive) as content:
            folder = Path(name)
            for member in (CONFIG, WEIGHTS, MANIFEST):
                content.extract(member, folder)
            config, tensors = read_config(folder), read_weights(folder)
            emptied = read_emptied_modules(folder)
            manifest = json.loads(content.read(ARTIFACT_MANIFEST))
            classes, settings = manifest["result"]["labels"], AdamssSpec.model_validate(manifest["spec"]["adamss"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise unusable(f"its adapter cannot be read ({type(error).__name__})", "The job's artifact is gone.") from error
    tensors = {key: value for key, value in tensors.items() if ".adamss_asa." not in key}
    return Published(config, tensors, classes, settings, emptied)


def _read_checkpoint(checkpoint: KeptCheckpoint) -> Published:
    folder = checkpoint.folder
    tensors = {key: value for key, value in read_weights(folder).items() if ".adamss_asa." not in key}
    settings = AdamssSpec.model_validate(checkpoint.adamss)
    return Published(read_config(folder), tensors, list(checkpoint.classes), settings, read_emptied_modules(folder))


def unusable(reason: str, hint: str) -> TrainingError:
    return TrainingError(
        "init_from_unusable",
        f"The job cannot start from the one that init_from names: {reason}.",
        hint=hint,
        where="init_from",
    )
