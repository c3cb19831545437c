"""A service with two projects that are full of things, and its surface as the application itself tells it."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from starlette.routing import Mount

from service.http.protocol import TimedProtocol
from service.keys.service import create_key
from service.shared.database.tables import Role
from service.shared.settings import Settings
from tests.service.support import BASE_URL, Service, finish, report_map, report_metrics, run_job, running

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
# What anyone may see; whoever adds a path here says why.
PUBLIC = {
    "/healthz": "load balancers have no key",
    "/readyz": "load balancers have no key",
    "/enter.js": "a few lines, of the page that a sign-in link opens",
    "/signin.js": "a line, of the sign-in page",
    "/style.css": "the style sheet, which the sign-in page has too",
    "/favicon.ico": "a picture, which browsers ask for before sign-in",
    "/static/{name:path}": "the page's files, which hold nothing of the service's data",
}
# Look at what they are shown themselves, which is in the body; without it, 401 as everywhere.
SIGN_INS = {"/signin"}
OTHERS = "others"


@dataclass(frozen=True)
class Route:
    """One address of the application, with one of the methods it takes."""

    method: str
    path: str

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)(?::\w+)?}", self.path)

    def fill(self, values: dict[str, str]) -> str:
        return re.sub(r"{(\w+)(?::\w+)?}", lambda found: values[found[1]], self.path)


def paths_of(app: FastAPI) -> list[str]:
    """Every route, mount, stream and page; of a mount its own path and one below it."""
    found: set[str] = set()
    for route in iter_route_contexts(app.routes):
        path = str(route.path)
        found.add(path or "/")
        if isinstance(getattr(route, "route", None) or getattr(route, "original_route", None), Mount):
            found.add(f"{path}/anything.js")
    return sorted(found)


def routes_of(app: FastAPI) -> list[Route]:
    """Every route with every method it takes."""
    return sorted(
        {
            Route(method, str(route.path))
            for route in iter_route_contexts(app.routes)
            for method in route.methods or ("GET", "HEAD")
        },
        key=lambda route: (route.path, route.method),
    )


@dataclass
class Target:
    """A running service; `mine` holds things of every kind, the project `others` holds nothing of them.

    Attributes:
        ids: by the names of path parameters, ids of the default project.
    """

    service: Service
    ids: dict[str, str]
    keys: dict[str, str]

    @property
    def app(self) -> FastAPI:
        return self.service.app

    def client(self, key: str | None = None) -> TestClient:
        """Signed in with one of `keys`, or as a stranger."""
        client = TestClient(self.app, base_url=BASE_URL, raise_server_exceptions=False, follow_redirects=False)
        if key is not None:
            client.headers["authorization"] = f"Bearer {self.keys.get(key, key)}"
        return client

    def browser(self, key: str) -> TestClient:
        """Signed in with one of `keys` at the page, by cookie."""
        browser = self.client()
        assert browser.post("/signin", data={"key": self.keys[key]}).status_code == 303
        return browser


@contextmanager
def target(settings: Settings, facts: dict[str, Any]) -> Iterator[Target]:
    """Starts a service and fills it. It needs the tiny model in its folder."""
    with running(settings, facts) as service:
        job = fill(service)
        service.client.post("/registry/sentiment/versions", json={"job": job["id"]}).raise_for_status()
        with service.db.write() as session:
            keys = {role.value: create_key(session, f"a {role.value} key", role=role).key for role in Role}
            keys[OTHERS] = create_key(session, "theirs", OTHERS, Role.ADMIN).key
        dataset_id = job["spec"]["dataset"]["train"]
        ids = {"job_id": job["id"], "dataset_id": dataset_id, "name": "lora", "step": "4"}
        ids |= {"model_name": "sentiment", "version": "1", "reference": "sentiment@1", "sweep_id": _sweep(service, job)}
        fields = {"training.learning_rate": 0.01}
        service.client.post("/presets", json={"name": "mine", "fields": fields}).raise_for_status()
        ids["preset_name"] = "mine"
        ids |= {"fine_tuning_job_id": job["id"], "file_id": dataset_id, "model": f"ft:tiny:default::{job['id']}"}
        yield Target(service, ids, keys)


def _sweep(service: Service, job: dict[str, Any]) -> str:
    wanted = {"spec": job["spec"], "trials": 1, "space": {"training.seed": {"min": 1, "max": 5}}}
    answer = service.client.post("/sweeps", json=wanted)
    assert answer.status_code == 201, answer.text
    sweep_id: str = answer.json()["id"]
    return sweep_id


def fill(service: Service) -> dict[str, Any]:
    """A job that has succeeded, with all that a job reports, and an artifact."""
    job = service.submit()
    run_job(service, job["id"])
    report_metrics(service, job["id"], [{"loss": 0.7}, {"loss": 0.6}])
    report_map(service, job["id"], step=1, active=3)
    folder = service.settings.files.job(job["id"]).path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.log").write_text("a line of the log\n")
    finish(service, job["id"], b"PK" + b"x" * 1000)
    return job


def operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of every call in the schema."""
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def required_query(app: FastAPI, route: Route) -> dict[str, str]:
    """A value for each query parameter that the route cannot do without."""
    operation = app.openapi()["paths"].get(route.path, {}).get(route.method.lower(), {})
    wanted = [one for one in operation.get("parameters", []) if one["in"] == "query" and one.get("required")]
    return {one["name"]: str(one["schema"].get("minimum", one["schema"].get("default", 1))) for one in wanted}


@contextmanager
def served(app: FastAPI, keep_alive: int = 5) -> Iterator[str]:
    """The running app on a port of its own; its parts are started by whoever made it."""
    how: dict[str, Any] = {"log_config": None, "server_header": False, "http": TimedProtocol, "ws": "none"}
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", timeout_keep_alive=keep_alive, **how))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def memory() -> int:
    """Bytes of memory that this process, which is also the API's, holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places of all plain values."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*path, 0))
    else:
        yield path


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    inner = copy
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = new
    return copy
