"""Rules for spectra: what is measured, by whom, and what is kept."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy.orm import Session

from adamss_core.spec import JobSpec, ModelFacts, SpecProblem
from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.spectrum_report import MOST_R, ROWS
from service.datasets import repository as datasets
from service.http.context import Caller
from service.jobs.planning import plan_job, refusal, resolve
from service.jobs.schemas import PlanOut
from service.jobs.service import create, lock_model
from service.projects.service import check_submit
from service.shared.database.tables import Job, Role, Spectrum
from service.shared.errors import InvalidRequest, NotFound, Unavailable
from service.shared.jobs import states
from service.spectra import repository, weights
from service.spectra.schemas import SpectrumOut

MOST_MODULES = 2_000  # as many as `target_modules` may name
FORMAT = "1"  # of the reports; a part of their keys


def show(caller: Caller, name: str, dataset_id: str | None) -> SpectrumOut:
    """Return the spectrum of a model's weights, or the newest on a data set.

    Of weights alone it begins the measurement where nothing is kept.

    Raises:
        NotFound: no such model or data set exists, or nothing was measured on it.
        Unavailable: the measurement failed.
    """
    facts = _facts(caller, name)
    version = _version(caller, name)
    if dataset_id is not None:
        return _on_dataset(caller, name, version, dataset_id)
    key = _key(name, version)
    with caller.db.read() as session:
        known = repository.find(session, key)
    if known is not None:
        return _ready(known)
    folder = caller.catalog.folder(name)
    if folder is None and caller.role == Role.READ:
        message = f"The spectrum of '{name}' was not measured. A key that may submit fetches its weights for it."
        raise NotFound(message, code="no_spectrum")
    order = weights.order_of(facts, adaptable(facts), str(folder or name), None)
    if not caller.spectra.measure(key, order, name, version):
        raise Unavailable(
            f"The spectrum of '{name}' could not be measured: {caller.spectra.problem(key)}", code="spectrum_failed"
        )
    return SpectrumOut(status="measuring", model=name)


def measure(caller: Caller, spec: JobSpec) -> SpectrumOut:
    """Return the spectrum of a model on a data set, or queue the job that measures it; nothing is measured twice.

    Args:
        spec: names the model and the data set with its columns.

    Raises:
        NotFound: no such model exists.
        InvalidRequest: the data set does not fit the model or the task.
    """
    name, dataset = spec.base_model, spec.dataset.train
    facts = _facts(caller, name)
    if not isinstance(dataset, str):
        message = "The spectrum is measured on one data set. Name a single one."
        raise InvalidRequest(message, code="one_dataset", param="dataset.train")
    plan = plan_job(caller, _on_every_layer(caller, facts, spec))
    version = _version(caller, name)
    key = _key(name, version, plan.spec)
    with caller.db.read() as session:
        known, job = repository.find(session, key), repository.measuring(session, caller.project_id, key)
    if known is not None:
        return _ready(known)
    job_id = job.id if job else _queue(caller, plan, key, version)
    return SpectrumOut(status="measuring", model=name, dataset=dataset, job=job_id)


def adaptable(facts: ModelFacts) -> list[str]:
    """Return the names of the linear layers that an adapter may go on."""
    in_full = tuple(f"{name}." for name in [*facts.head_modules, *(facts.fresh_modules or [])])
    called = (module.name for module in facts.linear_modules if module.bypassed_by is None)
    return [name for name in called if name not in facts.shared_weights and not f"{name}.".startswith(in_full)]


def _facts(caller: Caller, name: str) -> ModelFacts:
    try:
        return caller.catalog.facts(name, None)
    except InvalidRequest as error:
        if error.code == "unknown_model":
            raise NotFound(error.message, code=error.code) from error
        raise


def _version(caller: Caller, name: str) -> str:
    return caller.catalog.version(name)


def _key(name: str, version: str, spec: JobSpec | None = None) -> str:
    """Hash all that a spectrum depends on."""
    parts: dict[str, Any] = {"format": FORMAT, "model": name, "version": version}
    if spec is not None:
        parts |= spec.model_dump(mode="json", include={"task", "problem_type", "dataset"})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _on_every_layer(caller: Caller, facts: ModelFacts, spec: JobSpec) -> JobSpec:
    """Return the spec of a job that adapts every layer, as wide as energies are measured."""
    try:
        names = adaptable(facts.for_task(resolve(caller, spec).spec.task))  # they depend on the task's head
    except SpecProblem as problem:
        raise refusal(problem) from problem
    adamss = AdamssSpec(r=MOST_R, num_subspaces=1, target_modules=names if 0 < len(names) <= MOST_MODULES else None)
    return spec.model_copy(update={"adamss": adamss})


def _on_dataset(caller: Caller, name: str, version: str, dataset_id: str) -> SpectrumOut:
    with caller.db.read() as session:
        if datasets.find(session, caller.project_id, dataset_id) is None:
            raise NotFound(f"There is no data set {dataset_id}. GET /datasets lists yours.", code="dataset_not_found")
        known = repository.newest(session, name, version, dataset_id)
    if known is None:
        raise NotFound(
            f"The spectrum of '{name}' on {dataset_id} was not measured. POST /models/{name}/spectrum does it.",
            code="no_spectrum",
        )
    return _ready(known)


def _ready(known: Spectrum) -> SpectrumOut:
    return SpectrumOut(
        status="ready",
        model=known.model,
        dataset=known.dataset_id,
        report=known.report,  # type: ignore[arg-type]
        measured_at=known.measured_at,
    )


def _queue(caller: Caller, plan: PlanOut, key: str, version: str) -> str:
    return create(caller, lambda session: _insert(session, caller, plan, key, version), None, "").job.id


def _insert(session: Session, caller: Caller, plan: PlanOut, key: str, version: str) -> Job:
    check_submit(session, caller.settings, caller.project_id)
    spec = plan.spec
    lock_model(session, caller, spec.base_model)
    inspects = {"model": spec.base_model, "revision": version, "dataset": spec.dataset.train}
    return states.submit(
        session,
        caller.project_id,
        owner=caller.key_name,
        name=spec.name,
        spec=spec.model_dump(mode="json"),
        resolved=plan.model_dump(mode="json") | {"inspects": inspects},
        retries=spec.retries,
        total_steps=plan.estimate.modules + min(ROWS, plan.estimate.train_rows),
        inspects=key,
    )
