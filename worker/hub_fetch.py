"""Bring a base model of the hub to this host before a training process starts, as a phase of the job."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from adamss_core.training.request import RunRequest
from service.shared.database.engine import Database
from service.shared.database.tables import Job
from service.shared.processes.environment import asks_hub, for_hub, needs_token
from service.shared.processes.spawned_process import SpawnedProcess, python
from service.shared.storage.home import JobFolder
from worker.child import TrainingChild
from worker.fetch_events import announce_fetch

FETCH = "worker.model_fetch"
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def must_fetch(request: RunRequest) -> bool:
    """Tell whether the hub is asked for the model first: it is not here, or only the token's owner may have it."""
    if Path(request.model).is_absolute() or not asks_hub(os.environ):
        return False
    return needs_token(os.environ) or not has_weights(request.model, request.revision)


def has_weights(model: str, revision: str | None) -> bool:
    """Tell whether the hub's cache on this host has all weights of a model."""
    if _cached(model, SINGLE, revision) is not None:
        return True
    if (index := _cached(model, INDEX, revision)) is None:
        return False
    shards = set(json.loads(index.read_bytes())["weight_map"].values())
    return all(_cached(model, shard, revision) is not None for shard in shards)


def start_fetch(
    db: Database, job: Job, request: RunRequest, folder: JobFolder, wake: Callable[[], None]
) -> TrainingChild:
    """Start the process that fetches, with the hub's token, which the training process does not get."""
    if not has_weights(request.model, request.revision):
        announce_fetch(db, job, "fetching_model", f"Fetching the base model {request.model} from the hub.", "hub")
    command = python(FETCH, str(folder.path), request.model, *filter(None, [request.revision]))
    return TrainingChild(lambda launch: SpawnedProcess(command, launch), folder, {}, for_hub(os.environ), wake)


def _cached(model: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, name, revision=revision)
    return Path(found) if isinstance(found, str) else None
