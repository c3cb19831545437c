"""Models of OpenAI's API: base models under their own and mapped names, and the models of finished jobs."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from adamss_core.spec.tasks.text_generation import NAME as TASK
from service.artifacts import repository as artifacts
from service.http.context import Caller
from service.jobs import repository as job_rows
from service.jobs.service import get
from service.openai_api import repository
from service.openai_api.files import unix
from service.openai_api.model_names import name_of, parse
from service.openai_api.schemas import OpenAIDeleted, OpenAIModel, OpenAIPage
from service.registry import service as registry
from service.registry.schemas import LIVE
from service.shared.database.tables import Artifact, Job, StoredFile
from service.shared.errors import BadRequest, Conflict, NotFound
from service.shared.expiries import is_needed, models_of
from service.shared.jobs import states
from service.shared.jobs.job_queries import has_published
from service.shared.registrations import require_unregistered

OWNER = "adamss"
LISTED = 1_000  # newest trained models of a list, which OpenAI does not page


@dataclass(frozen=True)
class TunedModel:
    """A job whose model is meant, and the step of its checkpoint; None for the published model."""

    job: Job
    step: int | None
    name: str


def list_models(caller: Caller) -> OpenAIPage[OpenAIModel]:
    """List the mapped names, the base models and the newest trained models."""
    with caller.db.read() as session:
        project = repository.project_name(session, caller.project_id)
        found = repository.list_jobs(session, caller.project_id, None, LISTED, repository.with_model())
    trained = [_render(job, project) for job in found if has_published(job)]
    trained += [
        OpenAIModel(id=model.name, created=unix(model.created_at), owned_by=project)
        for model in registry.list_models(caller).data
        if model.task == TASK and LIVE in model.labels
    ]
    bases = [*caller.settings.openai_models, *caller.catalog.names()]
    return OpenAIPage.of([*(_base(caller, name) for name in dict.fromkeys(bases)), *trained])


def retrieve(caller: Caller, name: str) -> OpenAIModel:
    """Return a model by its name.

    Raises:
        NotFound: no such model exists in the project.
    """
    if _is_base(caller, name):
        return _base(caller, name)
    model = find(caller, name)
    with caller.db.read() as session:
        project = repository.project_name(session, caller.project_id)
    return _render(model.job, project, model.step).model_copy(update={"id": name})


def find(caller: Caller, name: str) -> TunedModel:
    """Return the trained model of a name.

    Raises:
        NotFound: no such model exists in the project.
    """
    parts = parse(name)
    if parts is None:
        return _find_registered(caller, name)
    with caller.db.read() as session:
        job = job_rows.find(session, caller.project_id, parts.job_id)
        if job is None or name_of(job, repository.project_name(session, caller.project_id)) != parts.whole:
            raise unknown(name)
        if not _is_there(session, job, parts.step):
            raise unknown(name)
    return TunedModel(job, parts.step, name)


def _find_registered(caller: Caller, reference: str) -> TunedModel:
    """Return the model that a name of the registry stands for."""
    try:
        with caller.db.read() as session:
            return TunedModel(get(session, caller, registry.job_of(session, caller, reference)), None, reference)
    except NotFound as error:
        raise unknown(reference) from error


def delete(caller: Caller, name: str) -> OpenAIDeleted:
    """Remove the files of a trained model; its job stays, with its metrics and checkpoints.

    Raises:
        BadRequest: a checkpoint or a base model.
        Conflict: an unfinished job starts from it, or evaluates it.
    """
    if _is_base(caller, name):
        raise _not_deletable("A base model belongs to the operator")
    model = find(caller, name)
    if model.step is not None:
        raise _not_deletable("Checkpoints are kept with their job")
    with caller.db.write() as session:
        job = job_rows.find(session, caller.project_id, model.job.id, lock=True)
        if job is None:
            raise unknown(name)
        if is_needed(session, job):
            raise Conflict("An unfinished job uses this model. Cancel it, or wait for its end.", code="job_in_use")
        require_unregistered(session, job.id, "Withdraw it there first.")
        chosen = [row for row in artifacts.of_job(session, job.id) if row.name in ("adapter", "lora", "merged")]
        session.execute(delete_rows(Artifact).where(*models_of(job.id)))
        keys = caller.host_files.forget(session, StoredFile.name.in_([row.path for row in chosen]))
        states.add_event(session, job, "model_deleted", "The model's artifacts were deleted.", {"model": name})
    caller.host_files.discard(keys)
    for row in chosen:
        caller.settings.files.resolve(row.path).unlink(missing_ok=True)
    return OpenAIDeleted(id=name, object="model")


def unknown(name: str) -> NotFound:
    return NotFound(
        f"The model '{name[:200]}' does not exist. GET /v1/models lists yours.", code="model_not_found", param="model"
    )


def _is_base(caller: Caller, name: str) -> bool:
    return name in caller.settings.openai_models or caller.catalog.is_known(name)


def _not_deletable(reason: str) -> BadRequest:
    message = f"{reason}: only models of finished jobs can be deleted."
    return BadRequest(message, code="not_deletable", param="model")


def _is_there(session: Session, job: Job, step: int | None) -> bool:
    if step is not None:
        return any(row.step == step for row in job_rows.checkpoints(session, job.id))
    return has_published(job) and any(row.name != "metrics" for row in artifacts.of_job(session, job.id))


def _render(job: Job, project: str, step: int | None = None) -> OpenAIModel:
    return OpenAIModel(id=name_of(job, project, step), created=unix(job.ended_at or job.created_at), owned_by=project)


def _base(caller: Caller, name: str) -> OpenAIModel:
    real = caller.settings.openai_models.get(name, name)
    if (added := caller.catalog.find_added(real)) is not None:
        return OpenAIModel(id=name, created=unix(added.created_at), owned_by=OWNER)
    folder = caller.catalog.folder(real)
    return OpenAIModel(id=name, created=0 if folder is None else int(folder.stat().st_mtime), owned_by=OWNER)
