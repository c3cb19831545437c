"""Write a run's artifacts: adapter, LoRA and merged model, each a zip with manifest and model card."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import accelerate
import peft
import tokenizers
import torch
import transformers
from peft import PeftModel
from transformers.pytorch_utils import Conv1D

from adamss_core.adapter_files import read_emptied_modules, save_adapter
from adamss_core.export import export_lora, merge_adapter
from adamss_core.failpoints import failpoint
from adamss_core.fileio.fsync import sync_folder
from adamss_core.fileio.hashing import sha256_of
from adamss_core.fileio.run_folder import RunFolder
from adamss_core.fileio.sizes import size_in_words
from adamss_core.fileio.walk import files_below
from adamss_core.fileio.zipping import zip_folder
from adamss_core.removal import finish_removal
from adamss_core.spec.target_names import find_renamed
from adamss_core.training.base_model import quiet_loading
from adamss_core.training.card import model_card
from adamss_core.training.errors import IncompleteRun, Stopped, TrainingError, translated_errors
from adamss_core.training.illustration import illustrate
from adamss_core.training.phases import enter_phase
from adamss_core.training.request import ArtifactFile, RunResult
from adamss_core.training.setup import Setup
from adamss_core.training.verification import TOLERANCE, Probe, verify

MANIFEST, CARD, EVALUATION = "manifest.json", "README.md", "evaluation.json"
PROVISIONAL = "The comparison is added to its card and manifest later, which changes its SHA-256."


def publish(
    setup: Setup, model: PeftModel, result: dict[str, Any], reports: Sequence[dict[str, Any]] = ()
) -> tuple[list[ArtifactFile], list[TrainingError]]:
    """Write, verify and zip the job's artifacts; no artifact appears under its name before it is verified.

    Each is reported as soon as it is complete; one that fails does not keep the others back.

    Args:
        model: the trained model in fp32 on the CPU; merging consumes it.
        reports: on its evaluation.

    Returns:
        The artifacts in the spec's order, and the errors of those that failed.

    Raises:
        Stopped: the reporter asked for it.
    """
    folder = RunFolder(setup.request.folder).artifacts
    folder.mkdir(parents=True, exist_ok=True)
    probe = Probe.of(setup, model)
    generation = setup.task.generation_config(model, setup.processor, setup.data.train, setup.reporter)
    if generation is not None:
        model.get_base_model().generation_config = generation  # each writer saves it
    artifacts: dict[str, ArtifactFile] = {}
    failed: list[TrainingError] = []
    later = f" {PROVISIONAL}" if setup.plan.spec.compare else ""
    # Merging comes last: it changes the model.
    for name in sorted(setup.plan.spec.artifacts, key=list(_WRITERS).index):
        if setup.reporter.stop_requested():
            raise Stopped("stopped while the artifacts were written")
        try:
            with translated_errors():
                artifacts[name] = _publish_one(name, folder, setup, model, probe, result, reports)
        except TrainingError as error:
            failed.append(error)
            setup.reporter.event(
                "artifact_failed", f"Artifact '{name}' failed: {error.message}", {"name": name, "code": error.code}
            )
            continue
        if setup.plan.spec.compare:
            _keep_copy(artifacts[name].path)  # the reporter may move the zip away
        setup.reporter.artifact(artifacts[name])
        setup.reporter.event(
            "artifact_ready",
            f"Artifact '{name}' is written and verified ({size_in_words(artifacts[name].size_bytes)}).{later}",
            {"name": name, "size_bytes": artifacts[name].size_bytes, "sha256": artifacts[name].sha256},
        )
    return [artifacts[name] for name in setup.plan.spec.artifacts if name in artifacts], failed


def kept_copy(path: Path) -> Path:
    """Return the place of an artifact's copy, to which a comparison is added once it is known."""
    return path.with_name(f".{path.stem}.kept")


def _keep_copy(path: Path) -> None:
    copy = kept_copy(path)
    copy.unlink(missing_ok=True)
    try:
        os.link(path, copy)  # takes no room
    except OSError:  # on a file system without links
        shutil.copyfile(path, copy)


def incomplete(outcome: RunResult, failed: Sequence[TrainingError]) -> IncompleteRun:
    """Make the error of a run of which artifacts failed; its message lists those that did not."""
    first, names = failed[0], ", ".join(artifact.name for artifact in outcome.artifacts)
    message = " ".join([*(error.message for error in failed), f"Published are: {names}." if names else ""]).strip()
    repeatable = all(error.deterministic for error in failed)
    error = IncompleteRun(first.code, message, hint=first.hint, deterministic=repeatable, where=first.where)
    error.outcome = outcome
    return error


def _publish_one(
    name: str,
    folder: Path,
    setup: Setup,
    model: PeftModel,
    probe: Probe,
    result: dict[str, Any],
    reports: Sequence[dict[str, Any]],
) -> ArtifactFile:
    content, staged = folder / f".{name}.content", folder / f".{name}.zip"
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir()
    enter_phase(setup.reporter, "publishing", artifact=name)
    try:
        facts = _target_facts(setup, model) | _WRITERS[name](model, content)
        # Loaded again, as a tokenizer in use keeps its padding and truncation.
        setup.task.load_processor(setup.source).save_pretrained(content)
        failpoint("artifact")
        enter_phase(setup.reporter, "verifying", artifact=name)
        difference = verify(name, content, setup, probe)
        enter_phase(setup.reporter, "publishing", artifact=name)
        manifest = _manifest(name, setup, result, facts, difference, probe)
        _write_card(name, content, manifest, setup)
        _write_evaluation(content, setup.request.job_id, reports)
        manifest["files"] = {
            path.relative_to(content).as_posix(): {"size_bytes": path.stat().st_size, "sha256": sha256_of(path)}
            for path in files_below(content)
        }
        (content / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False), encoding="utf-8")
        zip_folder(content, staged)
        digest = sha256_of(staged)
        final = folder / f"{name}.zip"
        staged.replace(final)
        sync_folder(folder)
    finally:
        shutil.rmtree(content, ignore_errors=True)
        staged.unlink(missing_ok=True)
    return ArtifactFile(name, final, final.stat().st_size, digest, manifest)


def _write_card(name: str, folder: Path, manifest: dict[str, Any], setup: Setup) -> None:
    text = illustrate(
        setup.reporter,
        f"Artifact '{name}' has no model card",
        lambda: model_card(name, manifest, setup.task.usage(manifest)),
        None,
    )
    if text is not None:
        (folder / CARD).write_text(text, encoding="utf-8")


def _write_evaluation(folder: Path, job_id: str, reports: Sequence[dict[str, Any]]) -> None:
    """Write the reports without texts of the data, as an artifact may be given to others, and without single rows."""
    left_out = ("answers", "row_results")
    kept = [{name: part for name, part in report.items() if name not in left_out} for report in reports]
    document = {"format": "adamss-evaluation", "version": 1, "job_id": job_id, "reports": kept}
    (folder / EVALUATION).write_text(json.dumps(document, indent=2, allow_nan=False), encoding="utf-8")


def _write_adapter(model: PeftModel, folder: Path) -> dict[str, Any]:
    finish_removal(model.base_model.adapted_layers(model.active_adapter), model.active_adapter)
    save_adapter(model, folder, leave_out_emptied=True)
    _write_generation_config(model, folder)
    return {"conv1d_modules": _count_conv1d(model), "emptied_modules": read_emptied_modules(folder)}


def _count_conv1d(model: PeftModel) -> int:
    """Count the adapted modules that PEFT's own AdaMSS, which knows nn.Linear alone, refuses to load."""
    layers = model.base_model.adapted_layers(model.active_adapter).values()
    return sum(isinstance(layer.get_base_layer(), Conv1D) for layer in layers)


def _write_lora(model: PeftModel, folder: Path) -> dict[str, Any]:
    manifest = export_lora(model, folder)
    _write_generation_config(model, folder)
    return {"lora": {key: manifest[key] for key in ("rank", "lora_bias", "dropped_modules")}}


def _write_generation_config(model: PeftModel, folder: Path) -> None:
    """Write how the model generates beside an adapter, whose base may stop at other tokens; merged models bring it."""
    config = getattr(model.get_base_model(), "generation_config", None)
    if config is not None:
        config.save_pretrained(folder)


def _write_merged(model: PeftModel, folder: Path) -> dict[str, Any]:
    merged: Any = merge_adapter(model)
    with quiet_loading():
        merged.save_pretrained(folder, max_shard_size="5GB")
    return {"dtype": "float32"}


_WRITERS: dict[str, Callable[[PeftModel, Path], dict[str, Any]]] = {
    "adapter": _write_adapter,
    "lora": _write_lora,
    "merged": _write_merged,
}


def _target_facts(setup: Setup, model: PeftModel) -> dict[str, Any]:
    """Return former name -> present names of the spec's targets that the model knows under other names."""
    names = (name for name, _ in model.named_modules())
    model_type = model.get_base_model().config.model_type
    renamed = find_renamed(setup.plan.spec.adamss.target_modules, names, model_type)
    return {"renamed_targets": {former: list(present) for former, present in renamed.items()}}


def _manifest(
    name: str, setup: Setup, result: dict[str, Any], facts: dict[str, Any], difference: float, probe: Probe
) -> dict[str, Any]:
    return {
        "format": "adamss-artifact",
        "version": 1,
        "artifact": name,
        "job_id": setup.request.job_id,
        "base_model": {"name": setup.source.name, "revision": setup.source.revision},
        "max_length": setup.limit,
        **setup.task.input_facts(setup.processor),
        "spec": setup.plan.spec.model_dump(mode="json"),
        "result": result,
        **facts,
        "verification": {
            "largest_difference": difference,
            "tolerance": TOLERANCE,
            "probes": len(probe.rows),
            "compared": "logits of held-out rows, fp32 on the CPU, against the trained model",
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "accelerate": accelerate.__version__,
            "tokenizers": tokenizers.__version__,
        },
    }
