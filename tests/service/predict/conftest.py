from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adamss_core.spec import JobSpec
from adamss_core.training.request import RunResult
from service.keys.service import DEFAULT_PROJECT
from service.shared.database.tables import Artifact, Job, JobStatus, now
from service.shared.ids import new_id
from service.shared.settings import Settings
from tests.service.support import Service, running

AddJob = Callable[..., str]
SPEC: dict[str, Any] = {"artifacts": ["adapter", "lora", "merged"]}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, JobSpec, RunResult]:
    """A real run of a small model that tells good words from bad ones: its base, spec and artifacts."""
    from adamss_core.training.run import run
    from tests.adamss_core.training.support import Recorder, build_model, job, request

    folder = tmp_path_factory.mktemp("trained")
    spec = job(**SPEC)
    wish = request(build_model(folder / "tiny-bert"), folder / "run", spec=spec)
    return folder / "tiny-bert", spec, run(wish, Recorder())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, trained: tuple[Path, JobSpec, RunResult]) -> Iterator[Service]:
    """A service with the base model in its models folder."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), predict_timeout_seconds=240.0)
    shutil.copytree(trained[0], settings.files.model("tiny-bert"))
    with running(settings) as service:
        yield service


@pytest.fixture(scope="module")
def add_job(service: Service, trained: tuple[Path, JobSpec, RunResult]) -> AddJob:
    """Registers the run as a job of the service's own project."""
    _, spec, outcome = trained

    def add(*names: str, status: JobStatus = JobStatus.SUCCEEDED, **changes: Any) -> str:
        job_id = new_id("job")
        folder = service.settings.files.job_artifacts(job_id)
        folder.mkdir()
        own = JobSpec.model_validate(spec.model_dump() | changes).model_dump(mode="json")
        moment = now()
        with service.db.write() as session:
            job = Job(id=job_id, project_id=project_of(service), name="tiny", status=status, spec=own)
            job.resolved = {"spec": own}
            job.created_at = job.queued_at = moment
            job.retries, job.total_steps = 0, 1
            session.add(job)
            session.flush()
            for artifact in outcome.artifacts:
                if artifact.name in names:
                    shutil.copy(artifact.path, folder)
                    row = Artifact(job_id=job_id, name=artifact.name, path=f"artifacts/{job_id}/{artifact.path.name}")
                    row.size_bytes, row.sha256, row.manifest = artifact.size_bytes, artifact.sha256, artifact.manifest
                    row.created_at = moment
                    session.add(row)
        return job_id

    return add


def project_of(service: Service) -> str:
    from sqlalchemy import select

    from service.shared.database.tables import Project

    with service.db.read() as session:
        return session.scalars(select(Project.id).where(Project.name == DEFAULT_PROJECT)).one()
