"""Assembly of the HTTP service from parts, middleware and routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio.to_thread import run_sync
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware

from service.artifacts.endpoints import router as artifacts
from service.audit.endpoints import router as audit
from service.base_models.endpoints import router as base_models
from service.base_models.service import Catalog
from service.datasets.endpoints import router as datasets
from service.datasets.upload import reader_server
from service.fleet.endpoints import router as fleet
from service.health import service as health_service
from service.health.endpoints import router as health
from service.http import docs
from service.http.context import Context
from service.http.gate.access import AccessMiddleware
from service.http.gate.audit_log import AuditMiddleware
from service.http.gate.body_limit import BodyLimitMiddleware
from service.http.gate.rates import RateLimits
from service.http.gate.read_limit import ReadLimitMiddleware
from service.http.gate.rendering import add_error_handlers
from service.http.gate.requests import RequestMetrics, RequestMiddleware
from service.http.openapi import DESCRIPTION, TAGS, DescribedApp
from service.jobs.endpoints import router as jobs
from service.jobs.token_lengths import LengthMeasurer
from service.jobs.waiting_places import QueueForecast
from service.keys.endpoints import router as keys
from service.keys.service import prepare_access
from service.openai_api.chat_endpoints import router as completions
from service.openai_api.endpoints import router as openai_api
from service.openai_api.result_sizes import ResultSizes
from service.openai_api.tuning_endpoints import router as tuning
from service.predict.endpoints import router as predict
from service.predict.process import PredictionQueue
from service.presets.endpoints import router as presets
from service.registry.endpoints import router as registered
from service.shared.jobs.queue import Hints
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings, get_settings
from service.shared.storage.model_folder import clear_abandoned
from service.shared.storage.pairing import open_database, open_paired_files
from service.spectra.endpoints import router as spectra
from service.spectra.weights import WeightSpectra
from service.stream.endpoints import router as stream
from service.stream.feed import Streams
from service.sweeps.endpoints import router as sweeps
from service.tasks.endpoints import router as tasks
from service.web import page

FETCH_PATIENCE = 8.0  # seconds that a request waits for a file of the store


def create_app(
    settings: Settings | None = None, forkserver: ForkServer | None = None, readers: ForkServer | None = None
) -> FastAPI:
    """Make the application; its lifespan opens database, threads and files, not this call.

    Args:
        forkserver, readers: shared with other applications; None makes one for this application.
    """
    settings = settings or get_settings()
    registry = CollectorRegistry()
    rates = RateLimits(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        context = await run_sync(start, settings, forkserver, readers)
        app.state.context = context
        health_service.register(registry, context)
        try:
            yield
        finally:
            await run_sync(stop, context)
            for own, given in ((context.forkserver, forkserver), (context.readers, readers)):
                if given is None:
                    await run_sync(own.close)

    app = DescribedApp(
        title="AdaMSS",
        version=version("adamss"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        telemetry={"tracing": False},
        middleware=[  # in the order in which a request passes them
            Middleware(RequestMiddleware, metrics=RequestMetrics(registry), settings=settings),
            Middleware(ReadLimitMiddleware),
            Middleware(AccessMiddleware, settings=settings, rates=rates),
            Middleware(AuditMiddleware),
            Middleware(BodyLimitMiddleware),
        ],
    )
    app.state.registry = registry
    app.state.settings = settings
    app.state.rates = rates
    add_error_handlers(app)
    # A model's name takes the rest of an address, so that spectra come before models.
    own = (
        jobs,
        stream,
        predict,
        registered,
        sweeps,
        artifacts,
        datasets,
        spectra,
        base_models,
        presets,
        tasks,
        fleet,
        health,
        keys,
        audit,
    )
    for router in (*own, openai_api, tuning, completions):
        app.include_router(router)
    docs.add(app)
    page.add(app)
    return app


def start(settings: Settings, forkserver: ForkServer | None = None, readers: ForkServer | None = None) -> Context:
    """Open the parts; migrate the database and create the first key if needed.

    Raises:
        StartRefused: others could reach the service without a key, the database belongs to another home folder, or
            the store of files cannot be used.
    """
    db = open_database(settings)
    host_files = open_paired_files(settings, db, FETCH_PATIENCE)
    prepare_access(settings, db)
    clear_abandoned(settings.files)
    forkserver = forkserver or ForkServer(["adamss_core.warm"], settings.forkserver_idle_seconds)
    return Context(
        settings=settings,
        db=db,
        host_files=host_files,
        hints=Hints(settings),
        catalog=Catalog(settings, db, forkserver, host_files),
        forkserver=forkserver,
        readers=readers or reader_server(settings.forkserver_idle_seconds),
        predictor=PredictionQueue(settings, forkserver),
        streams=Streams(db, host_files),
        lengths=LengthMeasurer(db, forkserver),
        queue=QueueForecast(settings, db),
        spectra=WeightSpectra(db, forkserver),
        result_sizes=ResultSizes(),
    )


def stop(context: Context) -> None:
    """Close the parts, but for servers of processes, which may be shared."""
    context.predictor.close()
    context.lengths.close()
    context.spectra.close()
    context.hints.close()
    context.db.close()
