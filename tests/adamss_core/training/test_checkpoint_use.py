"""A checkpoint of a finished run is published, trained on, and tried."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from adamss_core.checkpoint_model import CheckpointModel, load_checkpoint
from adamss_core.spec.job import StartingPoint
from adamss_core.training.checkpoints import CheckpointStore
from adamss_core.training.errors import TrainingError
from adamss_core.training.request import KeptCheckpoint, RunRequest
from adamss_core.training.run import run
from tests.adamss_core.training.chats import build_llama, chats, generation_job
from tests.adamss_core.training.support import FinishedRun, Recorder, request

pytestmark = pytest.mark.slow
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run of which an early checkpoint is kept, and is not the best."""
    folder = tmp_path_factory.mktemp("checkpoints")
    spec = generation_job(training={"sample_prompts": 0, "checkpoint_steps": 12})
    asked = replace(request(build_llama(folder / "model"), folder / "run", chats(160), spec=spec), keep_checkpoints=9)
    recorder = Recorder()
    return FinishedRun(asked, recorder, run(asked, recorder))


def kept(asked: RunRequest, step: int = 12) -> KeptCheckpoint:
    store = CheckpointStore(asked.folder / "checkpoints", 9)
    return KeptCheckpoint(store.path(step), asked.spec.adamss.model_dump(mode="json"), ())


def test_an_early_checkpoint_is_published_as_it_is(trained: FinishedRun, tmp_path: Path) -> None:
    """Not the best one, and without another step."""
    start = kept(trained.request)
    recorder = Recorder()
    outcome = run(replace(trained.request, folder=tmp_path, publishes=start.folder), recorder)
    assert (outcome.result["step"], outcome.result["time_limit_reached"]) == (12, False)
    assert trained.outcome.result["step"] > 12
    assert recorder.of("train") == {}
    assert outcome.result["eval_loss"] > trained.outcome.result["eval_loss"]
    before = safetensors.torch.load_file(start.folder / "adapter" / WEIGHTS)
    with zipfile.ZipFile(outcome.artifacts[0].path) as archive:
        after = safetensors.torch.load(archive.read(WEIGHTS))
    names = [name for name in after if ".adamss_A." in name or ".adamss_B." in name]
    assert names
    assert all(torch.equal(after[name], before[name]) for name in names)


def test_training_starts_from_a_checkpoint(trained: FinishedRun, tmp_path: Path) -> None:
    start = kept(trained.request)
    spec = trained.request.spec.model_copy(update={"init_from": StartingPoint(job="job_" + "a" * 12, checkpoint=12)})
    spec = type(spec).model_validate(spec.model_dump() | {"training": spec.training.model_dump() | {"max_steps": 1}})
    asked = replace(trained.request, spec=spec, folder=tmp_path, init_from=start)
    assert RunRequest.from_json(asked.to_json()) == asked
    recorder = Recorder()
    run(asked, recorder)
    begun = recorder.of("eval")[0]["eval_loss"]
    there = trained.recorder.of("eval")
    assert begun is not None
    assert begun < (there[0]["eval_loss"] or 0.0)  # the base's
    assert ("adapter_inherited", 12) in [(kind, data.get("checkpoint")) for kind, _, data in recorder.events]

    (start.folder / "adapter" / WEIGHTS).write_bytes(b"altered")
    with pytest.raises(TrainingError, match="altered or cut off") as caught:
        run(replace(asked, folder=tmp_path / "again"), Recorder())
    assert (caught.value.code, caught.value.where) == ("init_from_unusable", "init_from")
    model = CheckpointModel(start.folder.parent, 12, spec.model_dump_json())
    with pytest.raises(TrainingError) as caught:
        load_checkpoint(model, trained.request.model, None)
    assert caught.value.code == "checkpoint_gone"
