"""Parts of the process: made once at start-up, passed to the service functions as one argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from service.shared.database.engine import Database
from service.shared.database.tables import Role
from service.shared.jobs.queue import Hints
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings
from service.shared.storage.host_files import HostFiles

if TYPE_CHECKING:  # types only: domains import this module, so importing them would be a cycle
    from service.base_models.service import Catalog
    from service.jobs.token_lengths import LengthMeasurer
    from service.jobs.waiting_places import QueueForecast
    from service.openai_api.result_sizes import ResultSizes
    from service.predict.process import PredictionQueue
    from service.spectra.weights import WeightSpectra
    from service.stream.feed import Streams


@dataclass(frozen=True)
class Context:
    """Parts with the lifetime of the process.

    Attributes:
        forkserver: of processes on models.
        readers: of processes that read uploaded files.
    """

    settings: Settings
    db: Database
    host_files: HostFiles
    hints: Hints
    catalog: Catalog
    forkserver: ForkServer
    readers: ForkServer
    predictor: PredictionQueue
    streams: Streams
    lengths: LengthMeasurer
    queue: QueueForecast
    spectra: WeightSpectra
    result_sizes: ResultSizes


@dataclass(frozen=True)
class Caller(Context):
    """Parts, with the project of the request's key; queries never leave this project.

    Attributes:
        project_id: project of the request's key.
        role: role of the request's key.
        key_name: name of the request's key, which owns the jobs that it submits.
        upload_bytes: largest data set that the project may upload.
    """

    project_id: str
    role: Role
    key_name: str
    upload_bytes: int


# The middleware checks access; this only adds the lock to the interactive docs.
_bearer = HTTPBearer(auto_error=False, description="A key of the service: `Authorization: Bearer adamss_...`")


def get_context(request: Request) -> Context:
    """Return the parts of the process."""
    context: Context = request.app.state.context
    return context


def get_caller(request: Request, _: Annotated[object, Security(_bearer)] = None) -> Caller:
    """Return the parts with the project that the middleware has identified."""
    context = get_context(request)
    project_id: str = request.state.project_id
    return Caller(
        **vars(context) | {"catalog": context.catalog.of(project_id)},
        project_id=project_id,
        role=request.state.identity.role,
        key_name=request.state.identity.name,
        upload_bytes=request.state.identity.upload_bytes,
    )


ContextDep = Annotated[Context, Depends(get_context)]
CallerDep = Annotated[Caller, Depends(get_caller)]
