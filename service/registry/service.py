"""Publish versions of trained models under a name, move their labels, and find the job that a name stands for."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.artifacts import repository as artifacts
from service.http.context import Caller
from service.http.paging import Page
from service.jobs.schemas import render as render_job
from service.jobs.service import get
from service.registry import repository
from service.registry.schemas import (
    LIVE,
    LabelIn,
    PublishVersionIn,
    RegisteredModelIn,
    RegisteredModelOut,
    VersionMetricOut,
    VersionOut,
)
from service.shared.database.tables import Job, JobStatus, ModelLabel, ModelVersion, RegisteredModel, now
from service.shared.datasets import dataset_ids
from service.shared.errors import Conflict, NotFound
from service.shared.expiries import METRICS
from service.shared.ids import new_id
from service.shared.jobs.webhooks import check_webhook
from service.shared.registrations import announce_change, labels_of, withdraw

MOST_BEFORE = 100  # versions that a label remembers


def list_models(caller: Caller) -> Page[RegisteredModelOut]:
    with caller.db.read() as session:
        models = repository.list_models(session, caller.project_id)
        return Page(data=[_render(session, model) for model in models], has_more=False)


def show(caller: Caller, name: str) -> RegisteredModelOut:
    with caller.db.read() as session:
        return _render(session, _get(session, caller, name))


def publish(caller: Caller, name: str, wanted: PublishVersionIn) -> RegisteredModelOut:
    """Make a job's model the next version of a name, and let labels name it.

    Raises:
        NotFound: the job does not exist.
        Conflict: the job has not succeeded or has no model, or a base model has the name.
    """
    if caller.catalog.is_known(name):
        raise Conflict(f"A base model has the name {name}. Choose another one.", code="name_taken", param="model_name")
    try:
        return _publish(caller, name, wanted)
    except IntegrityError:  # another request has just made the first version; its model is committed by now
        return _publish(caller, name, wanted)


def _publish(caller: Caller, name: str, wanted: PublishVersionIn) -> RegisteredModelOut:
    with caller.db.write() as session:
        job = get(session, caller, wanted.job, lock=True)  # against its deletion
        hashes = _hashes(session, job)
        model = repository.find(session, caller.project_id, name, lock=True)
        if model is None:
            made = {"id": new_id("reg"), "project_id": caller.project_id, "created_at": now()}
            model = RegisteredModel(name=name, last_version=0, **made)
            session.add(model)
            session.flush()
        version = repository.version_of_job(session, model.id, job.id)
        change = "labelled"
        if version is None:
            version, change = _add_version(session, model, job, hashes), "published"
        moved = [label for label in dict.fromkeys(wanted.labels) if _move(session, model, label, version.version)]
        if change == "published" or moved:
            announce_change(session, model, version, change, ", ".join(moved) or None)
        return _render(session, model)


def change(caller: Caller, name: str, changes: RegisteredModelIn) -> RegisteredModelOut:
    check_webhook(caller.settings, changes.webhook)
    with caller.db.write() as session:
        model = _get(session, caller, name, lock=True)
        model.webhook = changes.webhook
        return _render(session, model)


def label(caller: Caller, name: str, wanted: LabelIn) -> RegisteredModelOut:
    """Let a label name a version, or remove the label.

    Raises:
        NotFound: the model has no such version or label.
    """
    with caller.db.write() as session:
        model = _get(session, caller, name, lock=True)
        if wanted.version is None:
            row = _label(session, model, wanted.label)
            number = row.history[-1]
            session.delete(row)
            session.flush()
        else:
            number = wanted.version
        version = _version(session, model, number)
        if wanted.version is None or _move(session, model, wanted.label, number):
            announce_change(session, model, version, "labelled", wanted.label)
        return _render(session, model)


def rollback(caller: Caller, name: str, label: str) -> RegisteredModelOut:
    """Let a label name the version that it named before.

    Raises:
        NotFound: the model has no such label.
        Conflict: the label has named no other version that still exists.
    """
    with caller.db.write() as session:
        model = _get(session, caller, name, lock=True)
        row = _label(session, model, label)
        if len(row.history) < 2:
            raise Conflict(
                f"{name}@{label} is version {row.history[-1]} and was no other before.",
                code="no_previous_version",
                param="label",
            )
        row.history = row.history[:-1]
        session.flush()
        announce_change(session, model, _version(session, model, row.history[-1]), "rolled_back", label)
        return _render(session, model)


def withdraw_version(caller: Caller, name: str, number: int, *, force: bool) -> None:
    """Remove a version.

    Raises:
        Conflict: a label names it, without `force`.
    """
    with caller.db.write() as session:
        model = _get(session, caller, name, lock=True)
        version = _version(session, model, number)
        named = [row.label for row in labels_of(session, model.id) if row.history[-1] == number]
        if named and not force:
            raise Conflict(
                f"{', '.join(named)} of {name} is version {number}. Move the label first, or repeat with force=true.",
                code="version_in_use",
                param="force",
            )
        withdraw(session, model, version)


def delete(caller: Caller, name: str) -> None:
    """Remove a name with all its versions."""
    with caller.db.write() as session:
        model = _get(session, caller, name, lock=True)
        for version in repository.versions(session, model.id):
            withdraw(session, model, version)
        repository.remove(session, model)


def job_of(session: Session, caller: Caller, reference: str) -> str:
    """Return the id of the job that `name`, `name@label` or `name@version` stands for.

    Raises:
        NotFound: there is none.
    """
    name, _, part = reference.partition("@")
    model = _get(session, caller, name)
    label = part or LIVE
    number = int(label) if label.isdecimal() and len(label) < 10 else _label(session, model, label).history[-1]
    return _version(session, model, number).job_id


def _get(session: Session, caller: Caller, name: str, *, lock: bool = False) -> RegisteredModel:
    model = repository.find(session, caller.project_id, name, lock=lock)
    if model is None:
        raise NotFound(
            f"There is no registered model {name[:80]}. GET /registry lists yours.", code="registered_model_not_found"
        )
    return model


def _label(session: Session, model: RegisteredModel, label: str) -> ModelLabel:
    row = repository.label(session, model.id, label)
    if row is None:
        labels = ", ".join(one.label for one in labels_of(session, model.id))
        has = f"It has {labels}." if labels else "It has no label."
        raise NotFound(f"{model.name} has no label {label[:40]}. {has}", code="label_not_found", param="label")
    return row


def _version(session: Session, model: RegisteredModel, number: int) -> ModelVersion:
    version = repository.version(session, model.id, number)
    if version is None:
        has = ", ".join(str(one.version) for one in repository.versions(session, model.id)[:20]) or "none"
        message = f"{model.name} has no version {number}. It has: {has}."
        raise NotFound(message, code="version_not_found", param="version")
    return version


def _hashes(session: Session, job: Job) -> dict[str, str]:
    """Return the hashes of the artifacts that a job's model has.

    Raises:
        Conflict: the job has not succeeded, or has no model.
    """
    if job.status != JobStatus.SUCCEEDED:  # one that its time limit has ended may be resumed, to another model
        message = f"The job is {job.status}; a model is published once its job has succeeded."
        raise Conflict(message, code=f"job_{job.status}", param="job")
    hashes = {row.name: row.sha256 for row in artifacts.of_job(session, job.id) if row.name != METRICS}
    if not hashes:
        raise Conflict("The job has no artifacts of a model.", code="artifact_gone", param="job")
    return hashes


def _add_version(session: Session, model: RegisteredModel, job: Job, hashes: dict[str, str]) -> ModelVersion:
    model.last_version += 1
    metric = render_job(job).best_metric
    value = None if metric is None else (job.result or {}).get(f"eval_{metric.name}")
    version = ModelVersion(
        model_id=model.id,
        version=model.last_version,
        job_id=job.id,
        artifacts=hashes,
        metric=None if metric is None else {**metric.model_dump(), "value": value},
        datasets=list(dict.fromkeys(dataset_ids((job.resolved.get("spec") or job.spec)["dataset"]))),
        created_at=now(),
    )
    session.add(version)
    session.flush()
    return version


def _move(session: Session, model: RegisteredModel, label: str, number: int) -> bool:
    """Let a label name a version; False if it does already."""
    row = repository.label(session, model.id, label)
    if row is None:
        session.add(ModelLabel(model_id=model.id, label=label, history=[number]))
    elif row.history[-1] == number:
        return False
    else:
        row.history = [*row.history, number][-MOST_BEFORE:]
    session.flush()
    return True


def _render(session: Session, model: RegisteredModel) -> RegisteredModelOut:
    rows = labels_of(session, model.id)
    labels = {row.label: row.history[-1] for row in rows}
    versions = repository.versions(session, model.id)
    newest = session.get(Job, versions[0].job_id) if versions else None
    spec = {} if newest is None else newest.resolved.get("spec") or newest.spec
    return RegisteredModelOut(
        name=model.name,
        task=spec.get("task"),
        labels=labels,
        previous={row.label: row.history[-2] for row in rows if len(row.history) > 1},
        webhook=model.webhook,
        versions=[_version_out(one, labels) for one in versions],
        created_at=model.created_at,
    )


def _version_out(version: ModelVersion, labels: dict[str, int]) -> VersionOut:
    return VersionOut(
        version=version.version,
        job=version.job_id,
        labels=[label for label, number in labels.items() if number == version.version],
        artifacts=version.artifacts,
        metric=None if version.metric is None else VersionMetricOut.model_validate(version.metric),
        datasets=version.datasets,
        created_at=version.created_at,
    )
