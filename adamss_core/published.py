"""Load the model of a published artifact: adapter, LoRA or merged model.

Weights are safetensors, never pickle; the caller names the sha256 of the zip.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from adamss_core.adapter_files import load_adapter
from adamss_core.fileio.hashing import sha256_of
from adamss_core.spec import JobSpec
from adamss_core.training.base_model import Source, quiet_loading
from adamss_core.training.class_head import take_over_head
from adamss_core.training.errors import TrainingError
from adamss_core.training.null_reporter import NullReporter
from adamss_core.training.request import PublishedModel
from adamss_core.training.tasks import Task, task_of


@dataclass(frozen=True)
class Loaded:
    """A trained model in evaluation mode, with its task and processor.

    Attributes:
        source: the base model, with the job's classes in the order of their ids.
        limit: tokens per example.
    """

    task: Task
    model: Any
    processor: Any
    source: Source
    limit: int


def load_published(published: PublishedModel, base: str, revision: str | None, folder: Path) -> Loaded:
    """Unpack an artifact, load it, and remove the unpacked files; memory-mapped weights stay readable.

    Args:
        base: folder or hub id of the base model; a merged artifact does not read it.
        revision: of a hub model.
        folder: for the unpacked files.

    Raises:
        TrainingError: artifact_damaged; no_head, where the base model alone is meant and would guess; or the reason why
            the model cannot be loaded.
    """
    with unpacked(published, folder) as manifest:
        loaded = described(manifest, base, revision, folder)
        kind = "base" if published.is_base else manifest["artifact"]
        model = _MODELS[kind](loaded.task, loaded.source, folder, loaded.processor)
        return replace(loaded, model=model.eval())


@contextmanager
def unpacked(published: PublishedModel, folder: Path) -> Iterator[dict[str, Any]]:
    """Unpack an artifact into a folder for a while, and yield its manifest.

    Raises:
        TrainingError: artifact_damaged.
    """
    if sha256_of(published.archive) != published.sha256:
        raise TrainingError(
            "artifact_damaged",
            "The file of the trained model is not what was published.",
            hint="Restore it from a backup, or run the job again.",
        )
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(published.archive) as archive:
            archive.extractall(folder)
        yield json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def described(manifest: dict[str, Any], base: str, revision: str | None, folder: Path) -> Loaded:
    """Return task, processor, base and lengths of an unpacked artifact; its model is None as yet."""
    spec = JobSpec.model_validate(manifest["spec"])
    task = task_of(spec, is_encoder_decoder=manifest.get("is_encoder_decoder", False))
    source = Source(base, revision, manifest["base_model"]["name"], tuple(manifest["result"].get("labels") or ()))
    return Loaded(task, None, task.read_processor(folder), source, manifest["max_length"])


def _merged(task: Task, source: Source, folder: Path, processor: Any) -> Any:
    with quiet_loading():
        return task.auto_model.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )


def _lora(task: Task, source: Source, folder: Path, processor: Any) -> Any:
    return PeftModel.from_pretrained(task.load_base(source, processor)[0], str(folder), torch_device="cpu")


def _adapter(task: Task, source: Source, folder: Path, processor: Any) -> Any:
    return load_adapter(task.load_base(source, processor)[0], folder, is_trainable=False)


def load_base_alone(task: Task, source: Source, processor: Any) -> Any:
    """Load the base model alone, with its own head in the order of the job's classes.

    Raises:
        TrainingError: no_head, where it has no trained head for these classes.
    """
    base, fresh = task.load_base(source, processor)
    knows = take_over_head(base, fresh, task.auto_model, source, NullReporter())
    if task.record.trains_head and not knows:
        raise TrainingError(
            "no_head",
            f"The base model '{source.name}' has no trained head for this job, so it would only guess.",
            hint="Evaluate the trained model.",
            where="model",
        )
    return base


def _base(task: Task, source: Source, folder: Path, processor: Any) -> Any:
    return load_base_alone(task, source, processor)


_MODELS: dict[str, Callable[[Task, Source, Path, Any], Any]] = {
    "merged": _merged,
    "lora": _lora,
    "adapter": _adapter,
    "base": _base,
}
