"""Translate OpenAI's request for a fine-tuning job into a job spec, and errors of the spec back into its fields."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from adamss_core.spec import JobSpec
from adamss_core.spec.tasks import find_record
from adamss_core.spec.tasks.text_generation import NAME as TASK
from service.http.context import Caller
from service.http.gate.validation import explain
from service.jobs.warm_start_rules import SAME_IN_ADAMSS
from service.openai_api import tuned_models
from service.openai_api.files import PREFIX, RESULTS
from service.openai_api.model_names import FINE_TUNED
from service.openai_api.tuning_schemas import Hyperparameters, TuningJobIn
from service.shared.database.tables import Json
from service.shared.errors import BadRequest, ServiceError
from service.shared.jobs.planned_spec import planned_spec

LONGEST_NAME = 120
NUMBERS = "method.supervised.hyperparameters"
# Field of the spec -> OpenAI's; the longest beginning counts.
PARAMS = {
    "base_model": "model",
    "revision": "model",
    "init_from": "model",
    "dataset.eval": "validation_file",
    "dataset": "training_file",
    "name": "suffix",
}


def spec_of(caller: Caller, request: TuningJobIn) -> JobSpec:
    """Return the spec of a requested job.

    Raises:
        BadRequest, NotFound: a field cannot be met; `param` is OpenAI's name of it.
    """
    _check_method(caller, request)
    _check_files(request)
    training = {} if request.training is None else request.training.model_dump(mode="json", exclude_unset=True)
    adamss = {} if request.adamss is None else request.adamss.model_dump(mode="json", exclude_unset=True)
    block: dict[str, Any] = {
        "name": (request.suffix or f"{request.model} on {request.training_file}")[:LONGEST_NAME],
        "task": TASK,
        "dataset": {"train": request.training_file, "eval": request.validation_file},
        "training": _merged(training, _numbers(request)),
    }
    block |= _model(caller, request.model, adamss)
    with in_openais_words():
        try:
            return JobSpec.model_validate(block)
        except ValidationError as error:
            raise explain([{**one, "loc": ("body", *one["loc"])} for one in error.errors()], block) from error


def block_of(request: TuningJobIn) -> dict[str, Json]:
    """Return what of a request the spec does not hold, to be kept beside the job's plan."""
    kept = request.model_dump(include={"model", "suffix", "metadata", "integrations"}, exclude_none=True)
    return {"openai": kept}


def preset_rate() -> float:
    """Return the learning rate whose multiplier is 1."""
    return float(find_record(TASK).presets[0].training["learning_rate"])


@contextmanager
def in_openais_words() -> Iterator[None]:
    """Name fields of the spec as OpenAI does, in errors that are raised within."""
    try:
        yield
    except ServiceError as error:
        for one in (error, *error.also):
            one.param = _openais(one.param)
        raise


def _openais(param: str | None) -> str | None:
    if param is None:
        return None
    return next((theirs for ours, theirs in PARAMS.items() if param == ours or param.startswith(f"{ours}.")), param)


def _check_method(caller: Caller, request: TuningJobIn) -> None:
    method = request.method
    if method is not None and (method.type != "supervised" or method.dpo or method.reinforcement):
        kind = method.type if method.type != "supervised" else "dpo" if method.dpo else "reinforcement"
        raise BadRequest(
            f"The method {kind!r} is not trained here. Send 'supervised', with examples of messages, or of prompt and "
            "completion.",
            code="unsupported_method",
            param="method",
        )
    if method is not None and request.hyperparameters is not None:
        raise BadRequest(
            f"hyperparameters stands beside method: send the numbers as {NUMBERS} alone.",
            code="given_twice",
            param="hyperparameters",
        )
    if request.integrations and not caller.settings.wandb:
        raise BadRequest(
            "No integration is configured here. Leave integrations out, and copy the job's numbers to Weights & Biases "
            "with `adamss jobs export JOB --to wandb`; or have the operator set ADAMSS_WANDB=true.",
            code="no_integration",
            param="integrations",
        )


def _check_files(request: TuningJobIn) -> None:
    for param in ("training_file", "validation_file"):
        file_id = getattr(request, param)
        if file_id is not None and file_id.startswith(PREFIX):
            message = f"{file_id} has the purpose {RESULTS!r}. Name a file with the purpose 'fine-tune'."
            raise BadRequest(message, code="wrong_purpose", param=param)
        if file_id is not None and not file_id.startswith("ds_"):
            raise BadRequest(f"There is no file {file_id}. GET /v1/files lists yours.", code="no_file", param=param)


def _numbers(request: TuningJobIn) -> dict[str, Any]:
    """Return the numbers of a request that are not "auto", as fields of `training`."""
    given = request.hyperparameters or (request.method.supervised.hyperparameters if request.method else None)
    given = given or Hyperparameters()
    rate = given.learning_rate_multiplier
    named = {
        "epochs": given.n_epochs,
        "batch_size": given.batch_size,
        "learning_rate": rate if rate == "auto" else preset_rate() * rate,
        "seed": "auto" if request.seed is None else request.seed,
    }
    return {name: value for name, value in named.items() if value != "auto"}


def _merged(training: dict[str, Any], numbers: dict[str, Any]) -> dict[str, Any]:
    if twice := sorted(training.keys() & numbers.keys()):
        message = f"training.{twice[0]} is given as a hyperparameter or seed as well. Leave one of them out."
        raise BadRequest(message, code="given_twice", param=f"training.{twice[0]}")
    return training | numbers


def _model(caller: Caller, name: str, adamss: dict[str, Any]) -> dict[str, Any]:
    """Return base model, adapter and `init_from`; a trained model gives its adapter's shape where none is sent."""
    if not name.startswith(f"{FINE_TUNED}:"):
        return {"base_model": caller.settings.openai_models.get(name, name), "adamss": adamss}
    model = tuned_models.find(caller, name)
    spec = planned_spec(model.job)
    start = model.job.id if model.step is None else {"job": model.job.id, "checkpoint": model.step}
    shape = spec.adamss.model_dump(mode="json", include=set(SAME_IN_ADAMSS))
    fixed = {"base_model": spec.base_model, "revision": spec.revision, "init_from": start}
    return fixed | {"adamss": shape | adamss}
