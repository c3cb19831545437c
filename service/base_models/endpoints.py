"""Base models over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from service.base_models.schemas import ModelOut
from service.http.context import CallerDep
from service.http.openapi import errors
from service.http.paging import Page

router = APIRouter(prefix="/models", tags=["models"])


@router.get("", responses=errors())
def list_models(caller: CallerDep) -> Page[ModelOut]:
    """List the base models in the models folder. Jobs may also name hub ids if the operator allows the hub."""
    return Page(data=caller.catalog.list_models(), has_more=False)
