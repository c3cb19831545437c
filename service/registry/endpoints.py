"""Serve registered models over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import Page
from service.registry import service
from service.registry.schemas import (
    MAX_NAME,
    NAME,
    LabelIn,
    PublishVersionIn,
    RegisteredModelIn,
    RegisteredModelOut,
    RollbackIn,
)

router = APIRouter(prefix="/registry", tags=["registry"])

ModelName = Annotated[
    str, Path(description="Name of a registered model, such as sentiment.", max_length=MAX_NAME, pattern=NAME)
]
VersionNumber = Annotated[int, Path(description="Number of a version.", ge=1, le=2**31 - 1)]
Force = Annotated[bool, Query(description="Also where a label names it: the label then names the version before.")]


@router.get("", responses=errors())
def list_registered(caller: CallerDep) -> Page[RegisteredModelOut]:
    """Lists the project's registered models with their versions."""
    return service.list_models(caller)


@router.get("/{model_name}", responses=errors(404, 422))
def get_registered(caller: CallerDep, model_name: ModelName) -> RegisteredModelOut:
    """A registered model: its versions, with metric and data, and the labels that name them."""
    return service.show(caller, model_name)


@router.post("/{model_name}/versions", status_code=201, responses=errors(404, 409, 422))
def publish_version(caller: CallerDep, model_name: ModelName, wanted: PublishVersionIn) -> RegisteredModelOut:
    """Publishes a job's model as the next version of a name, which the first version makes. A job that is a version of
    it already stays that one; the labels are moved.

        curl -H "Authorization: Bearer $ADAMSS_API_KEY" --json '{"job": "job_..."}' \\
             http://127.0.0.1:8642/registry/sentiment/versions
    """
    return service.publish(caller, model_name, wanted)


@router.patch("/{model_name}", responses=errors(404, 422))
def change_registered(caller: CallerDep, model_name: ModelName, changes: RegisteredModelIn) -> RegisteredModelOut:
    """Sets the webhook that receives a model's changes."""
    return service.change(caller, model_name, changes)


@router.post("/{model_name}/labels", responses=errors(404, 422))
def label_version(caller: CallerDep, model_name: ModelName, wanted: LabelIn) -> RegisteredModelOut:
    """Lets a stage label name a version, or removes the label."""
    return service.label(caller, model_name, wanted)


@router.post("/{model_name}/rollback", responses=errors(404, 409, 422))
def rollback_version(caller: CallerDep, model_name: ModelName, wanted: RollbackIn | None = None) -> RegisteredModelOut:
    """Lets a label, by default `live`, name the version that it named before."""
    return service.rollback(caller, model_name, (wanted or RollbackIn()).label)


@router.delete("/{model_name}/versions/{version}", status_code=204, responses=errors(404, 409, 422))
def withdraw_version(caller: CallerDep, model_name: ModelName, version: VersionNumber, force: Force = False) -> None:
    """Withdraws a version; its job stays, and may be deleted again."""
    service.withdraw_version(caller, model_name, version, force=force)


@router.delete("/{model_name}", status_code=204, responses=errors(404, 422))
def delete_registered(caller: CallerDep, model_name: ModelName) -> None:
    """Withdraws all versions of a name; their jobs stay."""
    service.delete(caller, model_name)
