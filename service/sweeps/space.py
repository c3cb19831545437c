"""Spaces of sweeps: ready ones, checks of what was sent, and the choice of values by Optuna."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from adamss_core.spec import JobSpec, record_of
from adamss_core.spec.budget import CHOSEN
from service.shared.errors import InvalidRequest
from service.sweeps.schemas import Dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Space = dict[str, Dimension]
Params = dict[str, Any]
OWN = ("name", "webhook", "priority", "artifacts", "training.metric_for_best")  # the sweep decides about these
TRIES = 50  # draws for each trial, until another one is found


def ready_space(name: str, spec: JobSpec) -> Space:
    """Return the space `quick` or `thorough` of a spec's task, from what docs/quality.md found.

    The best rates lay within a factor of two of the presets', a head's rate of 5e-3 gained a point, and with two thirds
    of a LoRA's elements a basis of the inputs lost nothing.
    """
    record = record_of(spec)
    rate = float(record.presets[0].training["learning_rate"])
    space = {"training.learning_rate": Dimension(min=rate / 4, max=rate * 3, log=True)}
    if record.trains_head:
        space["training.head_learning_rate"] = Dimension(values=[1e-3, 2e-3, 5e-3])
    if name == "thorough":
        space["training.lr_scheduler"] = Dimension(values=["linear", "cosine"])
        if not spec.adamss.model_fields_set & {*CHOSEN, "budget"}:
            space["adamss.budget"] = Dimension(values=[None, "67% of lora:r=1", "100% of lora:r=1"])
    return space


def check_space(space: Space, spec: JobSpec) -> None:
    """Check the paths of a space and of its conditions.

    Raises:
        InvalidRequest: a field does not exist, is not for a sweep to choose, or hangs on one that has no value.
    """
    for path, dimension in space.items():
        if not _exists(path):
            message = f"There is no field {path} in a job's spec. GET /openapi.json lists them under JobSpec."
            raise InvalidRequest(message, code="unknown_field", param=f"space.{path}")
        if path in OWN:
            raise InvalidRequest(f"{path} is not for a sweep to choose.", code="fixed_field", param=f"space.{path}")
        before = list(space)[: list(space).index(path)]
        for other in dimension.when or {}:
            if other not in before and (other in space or not _exists(other)):
                message = (
                    f"{path} hangs on {other}, which must be a field of the spec, or stand before it in the space."
                )
                raise InvalidRequest(message, code="unknown_field", param=f"space.{path}.when")


def choose(space: Space, spec: JobSpec, trials: int, seed: int) -> list[Params]:
    """Choose the values of all trials at once: different ones, spread over the space.

    Raises:
        InvalidRequest: the space has fewer choices.
    """
    import optuna  # half a second, and only sweeps need it

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
    study = optuna.create_study(sampler=sampler)
    plain = spec.model_dump(mode="json")
    found: list[Params] = []
    for _ in range(trials * TRIES):
        trial = study.ask()
        params: Params = {}
        for path, dimension in space.items():
            if _applies(dimension, params, plain):
                params[path] = _suggest(trial, path, dimension)
        study.tell(trial, 0.0)
        if params not in found:
            found.append(params)
            if len(found) == trials:
                return found
    raise InvalidRequest(
        f"The space has {len(found)} different choices, fewer than {trials} trials. Widen it, or ask for fewer trials.",
        code="space_too_small",
        param="trials",
    )


def with_params(plain: Params, params: Params) -> Params:
    """Return a spec with the fields of a trial."""
    changed = {name: dict(value) if isinstance(value, dict) else value for name, value in plain.items()}
    for path, value in params.items():
        *parents, name = path.split(".")
        block = changed
        for parent in parents:
            inner = block.get(parent) or {}
            if parent == "init_from" and isinstance(inner, str):  # short for the job alone
                inner = {"job": inner}
            if not isinstance(inner, dict):
                message = f"The space has {path}, but {parent} is {inner!r} in the spec. Write it as an object there."
                raise InvalidRequest(message, code="invalid_field", param=f"space.{path}")
            block[parent] = dict(inner)
            block = block[parent]
        block[name] = value
    return changed


def _exists(path: str) -> bool:
    model: type[BaseModel] | None = JobSpec
    for part in path.split("."):
        field = None if model is None else model.model_fields.get(part)
        if field is None:
            return False
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return True


def _applies(dimension: Dimension, params: Params, plain: Params) -> bool:
    return all(_value(path, params, plain) in values for path, values in (dimension.when or {}).items())


def _value(path: str, params: Params, plain: Params) -> Any:
    if path in params:
        return params[path]
    value: Any = plain
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return a dimension as Optuna has it: values by their places, as it takes no lists."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.values is not None:
        return CategoricalDistribution(list(range(len(dimension.values))))
    low, high = dimension.min, dimension.max
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=dimension.log)
    return FloatDistribution(float(low or 0.0), float(high or 0.0), log=dimension.log)


def plain_value(dimension: Dimension, value: Any) -> Any:
    """Return a trial's value as Optuna has it."""
    return value if dimension.values is None else dimension.values.index(value)


def _suggest(trial: Trial, path: str, dimension: Dimension) -> Any:
    if dimension.values is not None:
        return dimension.values[trial.suggest_categorical(path, list(range(len(dimension.values))))]
    low, high = dimension.min or 0, dimension.max or 0
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(path, low, high, log=dimension.log)
    # Four digits are read more easily; rounding must not leave the bounds.
    return min(max(float(f"{trial.suggest_float(path, low, high, log=dimension.log):.4g}"), low), high)
