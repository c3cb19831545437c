"""Parts that a request's code works with: made once at start-up, handed to the service functions as one argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from service.shared.database.engine import Database
from service.shared.jobs.queue import Hints
from service.shared.settings import Settings

if TYPE_CHECKING:  # by type only: domains import this module, so it must import none of them
    from service.base_models.service import Catalog
    from service.predict.process import Predictor
    from service.stream.feed import Streams


@dataclass(frozen=True)
class Context:
    """Parts that live as long as the process."""

    settings: Settings
    db: Database
    hints: Hints
    catalog: Catalog
    predictor: Predictor
    streams: Streams


@dataclass(frozen=True)
class Caller(Context):
    """Parts, and the project that the request's key belongs to: nothing of another project is ever shown.

    Attributes:
        upload_bytes: largest data set that the project may upload.
    """

    project_id: str
    upload_bytes: int


# Access itself is checked for every route by the middleware; this puts the lock into the interactive docs.
_bearer = HTTPBearer(auto_error=False, description="A key of the service: `Authorization: Bearer adamss_...`")


def get_context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


def get_caller(request: Request, _: Annotated[object, Security(_bearer)] = None) -> Caller:
    context = get_context(request)
    return Caller(
        settings=context.settings,
        db=context.db,
        hints=context.hints,
        catalog=context.catalog,
        predictor=context.predictor,
        streams=context.streams,
        project_id=request.state.project_id,
        upload_bytes=request.state.identity.upload_bytes,
    )


ContextDep = Annotated[Context, Depends(get_context)]
CallerDep = Annotated[Caller, Depends(get_caller)]
