"""Fill in a job's spec from the preset that it names."""

from __future__ import annotations

from pydantic import ValidationError

from adamss_core.spec import JobSpec
from adamss_core.spec.named_preset import BLOCKS, with_preset
from service.http.context import Caller
from service.http.gate.validation import explain
from service.jobs.case import AppliedPreset
from service.presets.service import look_up, unknown_preset
from service.shared.errors import InvalidRequest


def fill_in(caller: Caller, spec: JobSpec) -> tuple[JobSpec, AppliedPreset | None]:
    """Return a spec, whose task is known, with the values of its preset, and what these were.

    Raises:
        InvalidRequest: the preset does not exist, is for another task, or does not go together with the spec.
    """
    if spec.preset is None:
        return spec, None
    preset = look_up(caller, spec.preset)
    if preset is None:
        raise unknown_preset(caller, spec.preset)
    if preset.task != spec.task:
        message = f"The preset {preset.name} is for {preset.task}, and the job is a {spec.task}. Choose another one."
        raise InvalidRequest(message, code="preset_of_another_task", param="preset")
    blocks = {"adamss": preset.adamss, "training": preset.training}
    fields = {f"{block}.{name}": value for block in BLOCKS for name, value in blocks[block].items()}
    try:
        filled, taken = with_preset(spec, fields)
    except ValidationError as problem:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in problem.errors()]
        error = explain(errors, {}, JobSpec)
        message = f"With the preset {preset.name} the job cannot work: {error.message}"
        raise InvalidRequest(message, code=error.code, param=error.param or "preset") from problem
    return filled, AppliedPreset(preset.name, taken)
