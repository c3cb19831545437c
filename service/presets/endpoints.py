"""Serve presets over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from adamss_core.spec.job import MAX_PRESET_NAME, PRESET_NAME
from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import Page
from service.presets import service
from service.presets.schemas import PresetIn, PresetOut

router = APIRouter(prefix="/presets", tags=["jobs"])

PresetName = Annotated[
    str, Path(description="Name of a preset, such as reviews.", max_length=MAX_PRESET_NAME, pattern=PRESET_NAME)
]


@router.get("", responses=errors())
def list_presets(caller: CallerDep) -> Page[PresetOut]:
    """Lists the values that each kind of job starts from, then the project's own presets. A job's `training` takes
    those of its kind that it leaves out; `preset` of a spec chooses one by name, with its `adamss`."""
    return service.list_presets(caller)


@router.post("", status_code=201, responses=errors(409, 422))
def save_preset(caller: CallerDep, wanted: PresetIn) -> PresetOut:
    """Saves a preset of the project's own: from a job, from a sweep's best trial or another one, or of given fields.
    Specs choose it by name: `{"preset": "reviews", ...}` fills in the fields that they leave out.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" --json '{"name": "reviews", "sweep": "sweep_..."}' \\
             http://127.0.0.1:8642/presets
    """
    return service.save(caller, wanted)


@router.get("/{preset_name}", responses=errors(404, 422))
def get_preset(caller: CallerDep, preset_name: PresetName) -> PresetOut:
    """A preset: its values, and where they come from."""
    return service.show(caller, preset_name)


@router.delete("/{preset_name}", status_code=204, responses=errors(404, 409, 422))
def delete_preset(caller: CallerDep, preset_name: PresetName) -> None:
    """Deletes a preset of the project's own; jobs that were submitted with it keep their values."""
    service.delete(caller, preset_name)
