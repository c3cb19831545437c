"""Start an adapter from the values of one that another run has published (`init_from`)."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from peft import AdamssConfig, PeftModel, set_peft_model_state_dict
from torch import Tensor

from adamss_core.adapter_files import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    active_adapter,
    check_complete,
    read_config,
    read_weights,
)
from adamss_core.errors import AdamssError
from adamss_core.training.errors import TrainingError

SHAPING = ("r", "num_subspaces", "subspace_rank", "use_dynamic_rank")  # fields that determine the shapes of A and B


def warm_start(model: PeftModel, archive: Path) -> None:
    """Replace a fresh adapter's values, head included, by a published adapter's.

    Every subspace is active again, pruned ones with the values they were pruned with: the new run has its own
    schedule.

    Args:
        model: with a fresh adapter on the base that the published one was trained on.
        archive: zip of the published adapter.

    Raises:
        TrainingError: init_from_unusable, where the zip holds no adapter, or its settings differ.
        BaseMismatchError: it was trained on another base.
    """
    source_config, tensors = _read(archive)
    adapter = active_adapter(model)
    config = model.peft_config[adapter]
    for field in SHAPING:
        if getattr(source_config, field) != getattr(config, field):
            raise _unusable(
                f"adamss.{field} is {getattr(config, field)} here and {getattr(source_config, field)} there",
                "Give both jobs the same values, or leave init_from out.",
            )
    try:
        check_complete(model, adapter, tensors)
        set_peft_model_state_dict(model, tensors, adapter_name=adapter)
    except (RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1][:200]
        raise _unusable(f"its weights do not fit ({reason})", "The classes may differ.") from error
    except AdamssError as error:
        if error.code == "base_mismatch":
            raise
        raise _unusable(f"its modules differ: {error.message}", error.hint) from error


def _read(archive: Path) -> tuple[AdamssConfig, dict[str, Tensor]]:
    """Return the published adapter's configuration and its tensors without ASA's state."""
    try:
        with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(archive) as content:
            folder = Path(name)
            for member in (CONFIG, WEIGHTS, MANIFEST):
                content.extract(member, folder)
            config, tensors = read_config(folder), read_weights(folder)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise _unusable(
            f"its adapter cannot be read ({type(error).__name__})", "The job's artifact is gone."
        ) from error
    return config, {key: value for key, value in tensors.items() if ".adamss_asa." not in key}


def _unusable(reason: str, hint: str) -> TrainingError:
    return TrainingError(
        "init_from_unusable",
        f"The job cannot start from the one that init_from names: {reason}.",
        hint=hint,
        where="init_from",
    )
