"""Starting from the adapter that another run has left."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

from peft import PeftModel, set_peft_model_state_dict

from adamss_core.errors import AdamssError
from adamss_core.files import CONFIG, MANIFEST, WEIGHTS, active_adapter, check_complete, read_config, read_weights
from adamss_core.training.errors import TrainingError

SAME = ("r", "num_subspaces", "subspace_rank", "use_dynamic_rank")  # what shapes A and B


def inherit(model: PeftModel, archive: Path) -> None:
    """Puts the values of a published adapter in place of a fresh one's, head included.

    All of its subspaces take part again, those that were pruned with the values that they had then: the new run has its
    own schedule.

    Args:
        model: with a fresh adapter on the base that the other one was trained on.
        archive: zip of the other run's adapter.

    Raises:
        TrainingError: init_from_unusable, where the file is no such adapter, or its settings differ.
        BaseMismatchError: it was trained on another base.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(archive) as content:
                for member in (CONFIG, WEIGHTS, MANIFEST):
                    content.extract(member, folder)
            config, tensors = read_config(folder), read_weights(folder)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise _unusable(
                f"its adapter cannot be read ({type(error).__name__})", "The job's artifact is gone."
            ) from error
    adapter = active_adapter(model)
    mine = model.peft_config[adapter]
    for field in SAME:
        if getattr(config, field) != getattr(mine, field):
            raise _unusable(
                f"adamss.{field} is {getattr(mine, field)} here and {getattr(config, field)} there",
                "Give both jobs the same values, or leave init_from out.",
            )
    fresh = {key: value for key, value in tensors.items() if ".adamss_asa." not in key}
    try:
        check_complete(model, adapter, fresh)
        set_peft_model_state_dict(model, fresh, adapter_name=adapter)
    except (RuntimeError, KeyError) as error:
        raise _unusable(
            f"its weights do not fit ({str(error).strip().splitlines()[-1][:200]})", "The classes may differ."
        ) from error
    except AdamssError as error:
        if error.code == "base_mismatch":
            raise
        raise _unusable(f"its modules differ: {error.message}", error.hint) from error


def _unusable(reason: str, hint: str) -> TrainingError:
    return TrainingError(
        "init_from_unusable",
        f"The job cannot start from the one that init_from names: {reason}.",
        hint=hint,
        where="init_from",
    )
