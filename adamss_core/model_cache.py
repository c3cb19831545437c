"""Keep the models that predictions ask for in memory: LoRAs of one base side by side, else one model."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from peft import PeftModel
from safetensors import safe_open

from adamss_core.checkpoint_model import CheckpointModel, load_checkpoint
from adamss_core.published import Loaded, described, load_base_alone, load_published, unpacked
from adamss_core.training.request import PublishedModel

MOST_ADAPTERS = 8  # of one base; each is a few megabytes
FIRST = "default"  # PEFT's name of the adapter that a model is loaded with
Wanted = PublishedModel | CheckpointModel


@dataclass(frozen=True)
class Kept:
    """A loaded model, and the name of its adapter where others share its base; else None."""

    loaded: Loaded
    adapter: str | None


class ModelCache:
    """Models in memory; all of them are on one base, as two may not fit.

    Args:
        scratch: folder for unpacked artifacts.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._kept: dict[Wanted, Kept] = {}  # the one used last comes last
        self._base: tuple[str, str | None] | None = None

    def get(self, wanted: Wanted, base: str, revision: str | None) -> Loaded:
        """Return a model, ready to predict.

        Raises:
            TrainingError: the model cannot be loaded.
        """
        kept = self._kept.pop(wanted, None) if self._base == (base, revision) else None
        if kept is None:
            kept = self._load(wanted, base, revision)
        self._kept[wanted] = kept
        if kept.adapter is not None:
            kept.loaded.model.set_adapter(kept.adapter)
        return kept.loaded

    @contextmanager
    def base_of(self, wanted: Wanted, base: str, revision: str | None) -> Iterator[Loaded]:
        """Yield a model's base model alone, ready to predict as the model does.

        The adapter in memory is switched off for the while where nothing else was trained. Otherwise the base model is
        loaded in the place of all others, as two may not fit.

        Raises:
            TrainingError: no_head, where the base model has no trained head for the task; or it cannot be loaded.
        """
        loaded = self.get(wanted, base, revision)
        if isinstance(loaded.model, PeftModel) and _is_adapter_alone(loaded):
            with loaded.model.disable_adapter():
                yield loaded
            return
        bare = replace(loaded, model=None)
        del loaded
        self._forget()
        yield replace(bare, model=load_base_alone(bare.task, bare.source, bare.processor).eval())

    def _load(self, wanted: Wanted, base: str, revision: str | None) -> Kept:
        if isinstance(wanted, CheckpointModel):
            self._forget()
            kept = Kept(load_checkpoint(wanted, base, revision), None)
        elif (swapped := self._beside(wanted, base, revision)) is not None:
            return swapped
        else:
            self._forget()
            loaded = load_published(wanted, base, revision, self._scratch)
            kept = Kept(loaded, FIRST if _can_be_shared(loaded.model) else None)
        self._base = base, revision
        return kept

    def _forget(self) -> None:
        self._kept.clear()
        self._base = None
        gc.collect()

    def _beside(self, wanted: PublishedModel, base: str, revision: str | None) -> Kept | None:
        """Load a LoRA onto the base in memory; None where it is no LoRA alone, or the base is another one."""
        other = next((kept for kept in self._kept.values() if kept.adapter is not None), None)
        if other is None or self._base != (base, revision):
            return None
        with unpacked(wanted, self._scratch) as manifest:
            if manifest["artifact"] != "lora" or not _is_lora_alone(self._scratch):
                return None
            model: PeftModel = other.loaded.model
            while len(self._kept) >= MOST_ADAPTERS:
                oldest = self._kept.pop(next(iter(self._kept)))
                model.delete_adapter(oldest.adapter or FIRST)
            name = wanted.sha256
            model.load_adapter(str(self._scratch), adapter_name=name, torch_device="cpu")
            return Kept(replace(described(manifest, base, revision, self._scratch), model=model.eval()), name)


def _can_be_shared(model: object) -> bool:
    """Return whether further LoRAs can be put beside the one of a model: it trained nothing in full."""
    return type(model).__module__.startswith("peft.") and not _saved_modules(model)


def _saved_modules(model: object) -> bool:
    configs = getattr(model, "peft_config", {}).values()
    return any(config.modules_to_save or config.peft_type != "LORA" for config in configs)


def _is_adapter_alone(loaded: Loaded) -> bool:
    """Return whether the base model answers again once the adapter is switched off."""
    configs = loaded.model.peft_config.values()
    in_full = any(config.modules_to_save or getattr(config, "bias", "none") != "none" for config in configs)
    return not (loaded.task.record.trains_head or in_full)


def _is_lora_alone(folder: Path) -> bool:
    """Return whether an unpacked LoRA has no weights but its factors: others would change the base for all."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as weights:
        return not config.get("modules_to_save") and all(".lora_" in name for name in weights.keys())  # noqa: SIM118
