"""A service with a tiny chat model, and the real client of OpenAI for it: its types validate every answer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service.shared.database.tables import Artifact, Checkpoint, Job, JobStatus, now
from service.shared.ids import new_id
from service.shared.settings import Settings
from tests.security.support import served
from tests.service.predict.conftest import project_of
from tests.service.support import Service, running

if TYPE_CHECKING:
    from openai import OpenAI

    from adamss_core.spec import JobSpec
    from adamss_core.training.request import RunRequest, RunResult

CHAT_MODEL = "tiny-chat"


@pytest.fixture(scope="session")
def chat_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    from tests.adamss_core.training.chats import build_llama

    settings = Settings(
        home=tmp_path_factory.mktemp("openai") / "home",
        openai_models={"gpt-4o-mini": CHAT_MODEL},
        predict_timeout_seconds=240.0,
    )
    build_llama(settings.files.model(CHAT_MODEL))
    with running(settings) as service:
        yield service


@pytest.fixture(scope="session")
def address(chat_service: Service) -> Iterator[str]:
    with served(chat_service.app) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="session")
def openai(chat_service: Service, address: str) -> OpenAI:
    """The client, which does not repeat a call, and refuses an answer that is not of its type."""
    return client_of(address, chat_service.client.headers["authorization"].removeprefix("Bearer "))


def client_of(address: str, key: str, **options: Any) -> OpenAI:
    from openai import OpenAI

    return OpenAI(base_url=address, api_key=key, max_retries=0, _strict_response_validation=True, **options)


def write(folder: Path, *lines: str, name: str = "chats.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture(scope="session")
def chat_runs(
    chat_service: Service, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[JobSpec, RunRequest, RunResult]]:
    """Two real runs on the chat model: one learns to answer, the other hardly trains."""
    from adamss_core.training.run import run
    from tests.adamss_core.training.chats import chats, generation_job
    from tests.adamss_core.training.support import Recorder, request

    made = []
    for seed, epochs in ((0, 6), (1, 1)):
        training = {"epochs": epochs, "seed": seed, "sample_prompts": 0}
        data = {"train": "ds_" + "a" * 12, "eval_fraction": 0.1, "messages": "messages"}
        spec = generation_job(base_model=CHAT_MODEL, artifacts=["adapter", "lora"], training=training, dataset=data)
        folder = tmp_path_factory.mktemp(f"run{seed}")
        asked = request(chat_service.settings.files.model(CHAT_MODEL), folder, chats(160), spec=spec)
        made.append((spec, asked, run(asked, Recorder())))
    return made


@pytest.fixture(scope="session")
def tuned(chat_service: Service, chat_runs: list[tuple[JobSpec, RunRequest, RunResult]]) -> list[str]:
    """Names of the models of both runs, as jobs that have succeeded."""
    return [add_tuned(chat_service, *one) for one in chat_runs]


def add_tuned(
    service: Service, spec: JobSpec, asked: RunRequest, outcome: RunResult, status: JobStatus = JobStatus.SUCCEEDED
) -> str:
    """Register a run with its artifacts and checkpoints as a job of the default project; return its model's name."""
    job_id, moment = new_id("job"), now()
    files = service.settings.files
    own = spec.model_dump(mode="json")
    shutil.copytree(asked.folder / "checkpoints", files.job(job_id).checkpoints)
    files.job_artifacts(job_id).mkdir()
    with service.db.write() as session:
        job = Job(id=job_id, project_id=project_of(service), name="tiny", status=status, spec=own)
        job.resolved, job.result = {"spec": own}, outcome.result
        job.created_at = job.queued_at = job.ended_at = moment
        job.retries, job.total_steps = 0, outcome.result["steps"]
        session.add(job)
        session.flush()
        for one in outcome.artifacts:
            shutil.copy(one.path, files.artifact(job_id, one.name))
            row = Artifact(job_id=job_id, name=one.name, path=files.relative(files.artifact(job_id, one.name)))
            row.size_bytes, row.sha256, row.manifest, row.created_at = one.size_bytes, one.sha256, {}, moment
            session.add(row)
        for folder in sorted(files.job(job_id).checkpoints.glob("step-*")):
            step = int(folder.name.removeprefix("step-"))
            kept = {"attempt": 1, "path": f"checkpoints/{folder.name}", "best": False, "values": {}}
            session.add(Checkpoint(job_id=job_id, step=step, created_at=moment, **kept))
    return f"ft:{CHAT_MODEL}:default::{job_id}"
