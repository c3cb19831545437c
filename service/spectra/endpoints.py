"""Serve spectra of base models over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from service.http.context import CallerDep
from service.http.openapi import errors
from service.spectra import service
from service.spectra.schemas import SpectrumIn, SpectrumOut

router = APIRouter(prefix="/models", tags=["models"])

ModelName = Annotated[
    str, Path(description="A folder of the models folder, or a hub id such as org/name.", max_length=200)
]
MEASURING: dict[int | str, dict[str, Any]] = {
    202: {"model": SpectrumOut, "description": "It is being measured: ask again."}
}
RETRY_SECONDS = "2"


@router.get("/{name:path}/spectrum", response_model=SpectrumOut, responses={**MEASURING, **errors(404, 422)})
def get_spectrum(
    caller: CallerDep,
    response: Response,
    name: ModelName,
    dataset: Annotated[
        str | None, Query(max_length=60, description="Id of a data set; the weights alone where it is left out.")
    ] = None,
) -> SpectrumOut:
    """Singular values of each linear layer, and settings to begin with. The first look at a model's weights begins
    their measurement, which takes seconds to minutes (202). With `dataset` the newest spectrum that `POST` has
    measured: also the share of the energy of inputs and gradients that the leading directions of each basis catch."""
    return _with_status(response, service.show(caller, name, dataset))


@router.post("/{name:path}/spectrum", response_model=SpectrumOut, responses={**MEASURING, **errors(404, 409, 422)})
def measure_spectrum(caller: CallerDep, response: Response, name: ModelName, payload: SpectrumIn) -> SpectrumOut:
    """Measures the spectrum of a base model on a data set: a job, which a worker runs and which trains nothing (202).
    What was measured before is answered at once.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" -H "Content-Type: application/json" \\
             -d '{"dataset": {"train": "ds_..."}}' http://127.0.0.1:8642/models/minilm/spectrum
    """
    try:
        spec = payload.job(name)
    except ValidationError as error:
        problems = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(problems, body=payload.model_dump(exclude_unset=True)) from error
    return _with_status(response, service.measure(caller, spec))


def _with_status(response: Response, found: SpectrumOut) -> SpectrumOut:
    if found.status == "measuring":
        response.status_code = 202
        response.headers["retry-after"] = RETRY_SECONDS
    return found
