"""Base models over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.base_models import adding, deleting, fetching
from service.base_models.schemas import HubModelIn, ModelDetailOut, ModelOut
from service.http.context import CallerDep
from service.http.json_body import is_json, read_json
from service.http.openapi import errors
from service.http.paging import Page
from service.shared.errors import InvalidRequest

router = APIRouter(prefix="/models", tags=["models"])

ModelPath = Annotated[str, Path(description="Name of a model that GET /models lists.", max_length=200)]
THERE: dict[int | str, dict[str, Any]] = {
    200: {"model": ModelDetailOut, "description": "The project has this very model already."},
    202: {"model": ModelDetailOut, "description": "It is being fetched from the hub: ask GET /models/{name}."},
}
ARCHIVE = {"schema": {"type": "string", "format": "binary", "description": "The archive itself."}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/zip": ARCHIVE,
            "application/x-tar": ARCHIVE,
            "application/json": {
                "schema": HubModelIn.model_json_schema(),
                "example": {"hub_id": "sentence-transformers/all-MiniLM-L6-v2", "revision": "main"},
            },
        },
    }
}


async def read_hub_model(request: Request) -> HubModelIn | None:
    """Parse a JSON body that names a model on the hub; leave any other body, an archive, to be streamed."""
    if is_json(request):
        return await read_json(request, HubModelIn)
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise InvalidRequest(
            "Send the archive as the body itself, without a form: curl -T model.tar -X POST '.../models?name=NAME'.",
            code="form_not_accepted",
            param="file",
        )
    return None


@router.post("", status_code=201, responses=THERE | errors(400, 409, 413, 422), openapi_extra=BODY)
async def add_model(
    caller: CallerDep,
    request: Request,
    response: Response,
    source: Annotated[HubModelIn | None, Depends(read_hub_model)],
    name: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Name for jobs to use, NAME or ORGANISATION/NAME; by default the hub id. An archive needs one.",
            examples=["minilm"],
        ),
    ] = None,
) -> ModelDetailOut:
    """Add a base model to the project: a zip or tar (also tar.gz) of the folder that `save_pretrained` has written, as
    the body itself. It is unpacked while it arrives and checked as a job's base is: config, tokenizer or image
    processor, and safetensors weights, all of them whole. Pickles are refused, code and whatever else a model is not
    loaded from is left out (`left_out`).

        tar -C minilm -c . | curl -H "Authorization: Bearer $ADAMSS_API_KEY" -T - -X POST \\
             'http://127.0.0.1:8642/models?name=minilm'

    The same model again is not stored twice: status 200. Another model of that name is a 409: delete the first one.

    As JSON, `{"hub_id": "org/name", "revision": "main"}` has the service fetch the model, where the operator allows it
    (202); `GET /models/{name}` says how far it is.
    """
    if source is not None:
        model, is_created = await run_sync(fetching.add_from_hub, caller, source, name)
    else:
        model, is_created = await adding.add_archive(caller, name, request.stream(), _length(request))
    response.status_code = 202 if model.status == "fetching" else 201 if is_created else 200
    response.headers["location"] = f"/models/{model.name}"
    return model


def _length(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length[:19]) if length.isdecimal() else 0


@router.get("", responses=errors())
def list_models(caller: CallerDep) -> Page[ModelOut]:
    """List the base models that are here: folders that the operator put into the models folder, and models that this
    project has added. Jobs may also name hub ids if the operator allows the hub."""
    return Page(data=caller.catalog.list_models(), has_more=False)


@router.get("/{name:path}", responses=errors(404, 422))
def get_model(caller: CallerDep, name: ModelPath) -> ModelDetailOut:
    """Get a base model with its files, the jobs that use it, and how far it is while it is fetched from the hub."""
    return caller.catalog.show(name)


@router.delete("/{name:path}", status_code=204, responses=errors(404, 409, 422))
def delete_model(
    caller: CallerDep,
    name: ModelPath,
    force: Annotated[bool, Query(description="Delete it also where adapters of finished jobs need it.")] = False,
) -> None:
    """Delete a model that this project has added, or stop fetching it. Refused while an unfinished job uses it; where
    adapters of finished jobs need it to predict, `force` is needed."""
    deleting.delete_model(caller, name, force=force)
