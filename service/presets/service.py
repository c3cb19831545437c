"""Save, show and delete presets, and look up those that specs name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from adamss_core.spec import JobSpec, Preset, all_presets
from adamss_core.spec.named_preset import BLOCKS
from service.http.context import Caller
from service.http.gate.validation import explain
from service.http.paging import Page
from service.presets import repository
from service.presets.schemas import PresetIn, PresetOut
from service.shared.database.tables import Job, Json, NamedPreset, now
from service.shared.errors import Conflict, InvalidRequest, NotFound
from service.shared.sweeps.trial_table import best_first, table_of

MOST = 200  # of a project
NAMED = 20  # that an error names
# Of one run, not of good values; the rest are fields that a pasted adapter_config.json brings along.
LEFT_OUT = frozenset({
    "training.seed", "adamss.task_type", "adamss.peft_type", "adamss.auto_mapping", "adamss.peft_version",
    "adamss.base_model_name_or_path", "adamss.revision", "adamss.inference_mode",
})  # fmt: skip


def list_presets(caller: Caller) -> Page[PresetOut]:
    """List the presets of each kind of job, then the project's own."""
    with caller.db.read() as session:
        own = [_render(preset) for preset in repository.of_project(session, caller.project_id)]
    return Page(data=[*map(_render_of_kind, all_presets()), *own], has_more=False)


def show(caller: Caller, name: str) -> PresetOut:
    """Return a preset.

    Raises:
        NotFound: no preset has this name.
    """
    if (found := look_up(caller, name)) is None:
        raise NotFound(f"There is no preset {name}. {_names(caller)}", code="preset_not_found")
    return found


def save(caller: Caller, wanted: PresetIn) -> PresetOut:
    """Save a preset of the project's own.

    Raises:
        InvalidRequest: a field cannot have its value, a source does not exist, or nothing is left to save.
        Conflict: the name is taken, or the project has too many.
    """
    if any(preset.name == wanted.name for preset in all_presets()):
        message = f"{wanted.name} is the preset of a kind of job, which stays as it is. Choose another name."
        raise Conflict(message, code="preset_exists", param="name")
    with caller.db.write() as session:
        earlier = repository.find(session, caller.project_id, wanted.name)
        if earlier is not None and not wanted.replace:
            message = f"A preset {wanted.name} exists. Choose another name, or replace it (replace: true)."
            raise Conflict(message, code="preset_exists", param="name")
        if earlier is None and repository.count(session, caller.project_id) >= MOST:
            message = f"A project has at most {MOST} presets of its own. Delete one first: DELETE /presets/{{name}}."
            raise Conflict(message, code="too_many_presets")
        task, fields, job = _source(session, caller, wanted)
        _check(task, fields)
        values = {"task": task, "fields": fields, "job_id": job.id if job else None, "created_at": now()}
        saved = session.merge(NamedPreset(project_id=caller.project_id, name=wanted.name, **values))
        return _render(saved)


def delete(caller: Caller, name: str) -> None:
    """Delete a preset of the project's own; jobs that were submitted with it keep their values.

    Raises:
        NotFound: the project has none of this name.
        Conflict: it is that of a kind of job.
    """
    with caller.db.write() as session:
        preset = repository.find(session, caller.project_id, name)
        if preset is None:
            if any(kind.name == name for kind in all_presets()):
                raise Conflict(f"{name} is the preset of a kind of job, which stays.", code="preset_is_fixed")
            raise NotFound(f"There is no preset {name}. GET /presets lists them.", code="preset_not_found")
        session.delete(preset)


def look_up(caller: Caller, name: str) -> PresetOut | None:
    """Return the preset of a name: the project's own, else that of a kind of job."""
    with caller.db.read() as session:
        own = repository.find(session, caller.project_id, name)
        if own is not None:
            return _render(own)
    return next((_render_of_kind(kind) for kind in all_presets() if kind.name == name), None)


def unknown_preset(caller: Caller, name: str) -> InvalidRequest:
    """Make the error of a spec that names a preset that does not exist."""
    return InvalidRequest(f"There is no preset {name}. {_names(caller)}", code="unknown_preset", param="preset")


def _names(caller: Caller) -> str:
    with caller.db.read() as session:
        own = [preset.name for preset in repository.of_project(session, caller.project_id)]
    kinds = ", ".join(kind.name for kind in all_presets())
    if not own:
        return f"The project has none of its own; those of the kinds of jobs are {kinds}."
    more = "" if len(own) <= NAMED else f" and {len(own) - NAMED} more"
    return f"The project's own are {', '.join(own[:NAMED])}{more}; those of the kinds of jobs are {kinds}."


def _source(session: Session, caller: Caller, wanted: PresetIn) -> tuple[str, Json, Job | None]:
    """Return task and fields of what was asked for, and the job that they are from."""
    if wanted.fields is not None:
        if left_out := LEFT_OUT & set(wanted.fields):
            path = min(left_out)
            raise InvalidRequest(f"{path} is not for a preset to choose.", code="fixed_field", param=f"fields.{path}")
        return wanted.task, wanted.fields, None
    job = _job_of(session, caller, wanted)
    spec = job.spec
    chosen: Json = (job.resolved.get("preset") or {}).get("fields", {})
    own = {f"{block}.{name}": value for block in BLOCKS for name, value in (spec.get(block) or {}).items()}
    left_out = LEFT_OUT | ({"training.metric_for_best"} if job.sweep_id else set())
    fields = {path: value for path, value in {**chosen, **own}.items() if path not in left_out}
    if not fields:
        message = f"The spec of {job.id} sets no field of adamss or training: it has the values of its kind already."
        raise InvalidRequest(message, code="nothing_to_save", param="job")
    return job.resolved["spec"]["task"], fields, job


def _job_of(session: Session, caller: Caller, wanted: PresetIn) -> Job:
    if wanted.sweep is None:
        job = repository.find_job(session, caller.project_id, str(wanted.job))
        if job is None or job.evaluates or job.inspects:
            message = f"There is no training job {wanted.job}. GET /jobs lists yours."
            raise InvalidRequest(message, code="unknown_job", param="job")
        return job
    sweep = repository.find_sweep(session, caller.project_id, wanted.sweep)
    if sweep is None:
        message = f"There is no sweep {wanted.sweep}. GET /sweeps lists yours."
        raise InvalidRequest(message, code="unknown_sweep", param="sweep")
    rows = table_of(session, sweep)
    if wanted.trial is None:
        found = best_first(sweep, rows)[:1]
        missing = "No trial of the sweep has a value yet. Wait for one, or name a trial."
    else:
        found = [row for row in rows if row.trial.number == wanted.trial]
        missing = f"The sweep has no trial {wanted.trial} with a job. GET /sweeps/{sweep.id} lists its trials."
    if not found or not found[0].jobs:
        raise InvalidRequest(missing, code="unknown_trial", param="trial")
    return found[0].jobs[0]


def _check(task: str, fields: Json) -> None:
    """Check values as those of a job's spec.

    Raises:
        InvalidRequest: a field does not exist, or cannot have its value.
    """
    plain: Json = {"name": "preset", "base_model": "model", "task": task, "dataset": {"train": "ds_00000000"}}
    for path, value in fields.items():
        block, _, name = path.partition(".")
        plain.setdefault(block, {})[name] = value
    try:
        JobSpec.model_validate(plain)
    except ValidationError as problem:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in problem.errors()]
        error = explain(errors, plain, JobSpec)
        raise InvalidRequest(error.message, code=error.code, param=f"fields.{error.param}") from problem


def _render(preset: NamedPreset) -> PresetOut:
    return PresetOut(
        name=preset.name,
        task=preset.task,
        problem_type=None,
        dataset={},
        adamss=_block(preset.fields.items(), "adamss"),
        training=_block(preset.fields.items(), "training"),
        reason="Fields that were given." if preset.job_id is None else f"The values of {preset.job_id}.",
        own=True,
        job=preset.job_id,
        created_at=preset.created_at,
    )


def _block(fields: Iterable[tuple[str, Any]], block: str) -> Json:
    return {path.partition(".")[2]: value for path, value in fields if path.startswith(f"{block}.")}


def _render_of_kind(preset: Preset) -> PresetOut:
    return PresetOut(**preset.model_dump(), own=False, job=None, created_at=None)
