"""Add a finished comparison to the cards and manifests of artifacts that were published before it."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from adamss_core.fileio.fsync import sync_folder
from adamss_core.fileio.hashing import sha256_of
from adamss_core.fileio.zipping import zip_folder
from adamss_core.training.artifacts import CARD, MANIFEST, kept_copy
from adamss_core.training.card import model_card
from adamss_core.training.errors import Stopped
from adamss_core.training.illustration import illustrate
from adamss_core.training.request import ArtifactFile, RunResult
from adamss_core.training.setup import Setup


def add_to_artifacts(setup: Setup, outcome: RunResult) -> RunResult:
    """Write each artifact again with the comparison in card and manifest; all other files stay as they were verified.

    An artifact for which that fails stays as it is, with a warning.

    Raises:
        Stopped: the reporter asked for it.
    """
    artifacts = []
    for artifact in outcome.artifacts:
        if setup.reporter.stop_requested():
            raise Stopped("stopped while the comparison was added to the artifacts")
        lost = f"The card of artifact '{artifact.name}' lacks the comparison"
        write = partial(_with_comparison, setup, artifact, outcome.result["comparison"])
        written: ArtifactFile = illustrate(setup.reporter, lost, write, artifact)
        if written is not artifact:
            setup.reporter.artifact(written)
        artifacts.append(written)
    return replace(outcome, artifacts=artifacts)


def remove_copies(artifacts: Sequence[ArtifactFile]) -> None:
    """Remove the copies that `publish` has kept for `add_to_artifacts`."""
    for artifact in artifacts:
        kept_copy(artifact.path).unlink(missing_ok=True)


def _with_comparison(setup: Setup, artifact: ArtifactFile, comparison: dict[str, Any]) -> ArtifactFile:
    folder, name = artifact.path.parent, artifact.name
    content, staged = folder / f".{name}.content", folder / f".{name}.zip"
    shutil.rmtree(content, ignore_errors=True)
    manifest = artifact.manifest | {"result": artifact.manifest["result"] | {"comparison": comparison}}
    try:
        with zipfile.ZipFile(kept_copy(artifact.path)) as archive:
            archive.extractall(content)
        card = content / CARD
        card.write_text(model_card(name, manifest, setup.task.usage(manifest)), encoding="utf-8")
        facts = {"size_bytes": card.stat().st_size, "sha256": sha256_of(card)}
        manifest["files"] = manifest["files"] | {CARD: facts}
        (content / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False), encoding="utf-8")
        zip_folder(content, staged)
        digest = sha256_of(staged)
        staged.replace(artifact.path)
        sync_folder(folder)
    finally:
        shutil.rmtree(content, ignore_errors=True)
        staged.unlink(missing_ok=True)
    return ArtifactFile(name, artifact.path, artifact.path.stat().st_size, digest, manifest)
