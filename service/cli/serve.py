"""Commands `adamss up`, `api`, `worker` and `link`: the service's processes and their sign-in links."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import CliError
from service.cli.terminal import put

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.cli.processes import ServiceProcess
    from service.shared.settings import Settings

START_SECONDS = 60.0
API_STOP_SECONDS = 10.0
# Longer than a reader's pauses and a proxy's idle timeout (60 s in nginx): the client must close first, because a
# request sent while the server closes the connection gets no response.
KEEP_ALIVE_SECONDS = 75
WORKER_EXTRA_SECONDS = 15.0  # beyond the training process's grace, for the worker itself
TICK_SECONDS = 0.2

Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any free port.")]


Processes = Annotated[int, typer.Option(min=1, max=64, help="Number of processes that serve the port.")]


def up(port: Port = None) -> None:
    """Start the service on this machine: API and worker, with SQLite and files in ./data by default.

    Prints the service's address and a sign-in link. Ctrl-C stops the service; running jobs write a checkpoint and
    resume at the next start.
    """
    from service.cli.processes import ServiceProcess
    from service.shared.processes.spawned_process import python

    settings = prepare(port)
    env = os.environ | {"ADAMSS_PORT": str(settings.port)}
    processes = [
        ServiceProcess(name, python("service.cli", name), env, settings.files.log(name), say)
        for name in ("api", "worker")
    ]
    api, worker = processes
    stop = StopSignals()
    try:
        for process in processes:
            process.start()
        greet(settings, lambda: watch(processes, stop))
        while watch(processes, stop):
            pass
    finally:
        say("Stopping; running jobs write a checkpoint first. Ctrl-C again kills them at once.")
        worker.stop(settings.shutdown_grace_seconds + WORKER_EXTRA_SECONDS, stop.hurried)
        api.stop(API_STOP_SECONDS, stop.hurried)
        say("Stopped.")


def api(processes: Processes = 1) -> None:
    """Start the API alone, after migrating the database.

    With several processes one port is served by all of them; they share limits and metrics. Behind a proxy, API
    processes may also be started one by one, on ports of their own, with ADAMSS_API_PROCESSES set to their number.
    """
    import uvicorn

    from service.shared.logs import configure_logging

    if processes > 1:
        os.environ["ADAMSS_API_PROCESSES"] = str(processes)
    settings = prepare(None)
    configure_logging()
    if settings.api_processes > 1:
        share_metrics(settings.files.process_metrics, anew=processes > 1)
    if processes > 1:
        os.environ["ADAMSS_PORT"] = str(settings.port)
        uvicorn.run(f"{__name__}:make_app", factory=True, workers=processes, **server_options(settings))
    else:
        from service.http.app import create_app

        uvicorn.run(create_app(settings), **server_options(settings))


def share_metrics(folder: Path, *, anew: bool) -> None:
    """Let prometheus_client keep its numbers in a folder of all API processes; before it is imported.

    Args:
        anew: empty the folder first: no other process uses it.
    """
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def make_app() -> FastAPI:
    """Make the application of one of several processes, which ends with their parent."""
    from service.http.app import create_app
    from service.shared.logs import configure_logging
    from service.shared.processes.parent_death import die_with_parent

    die_with_parent()
    configure_logging()
    return create_app()


def server_options(settings: Settings) -> dict[str, Any]:
    """Return the options of uvicorn."""
    from service.http.protocol import TimedProtocol

    return {
        "host": settings.host,
        "port": settings.port,
        "http": TimedProtocol,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": bool(settings.trusted_proxies),  # uvicorn itself would believe everybody on this machine
        "forwarded_allow_ips": [str(network) for network in settings.trusted_proxies],
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": round(API_STOP_SECONDS / 2),
    }


def worker() -> None:
    """Start a worker alone; any number of workers may share one database."""
    from service.shared.processes.spawned_process import python

    os.execv(sys.executable, python("worker.main"))


def prepare(port: int | None) -> Settings:
    """Load the settings, check the port, migrate the database and protect access.

    Raises:
        CliError: the port is taken, the service would be accessible without a key, the database belongs to another
            home folder, or the store of files cannot be used.
    """
    from service.keys.service import prepare_access
    from service.shared.errors import StartRefused
    from service.shared.settings import Settings
    from service.shared.storage.pairing import open_database, open_paired_files
    from service.shared.storage.permissions import keep_private

    settings = Settings() if port is None else Settings(port=port)
    if settings.port == 0:
        settings = settings.model_copy(update={"port": free_port(settings.host)})
    check_port(settings)
    keep_private(settings.resolved_home)
    try:
        with closing(open_database(settings)) as db:
            open_paired_files(settings, db)
            prepare_access(settings, db)
    except StartRefused as error:
        raise CliError(str(error)) from error
    return settings


def watch(processes: Sequence[ServiceProcess], stop: StopSignals) -> bool:
    """Restart dead processes; return False once the service should stop."""
    for process in processes:
        process.revive()
    return not stop.asked.wait(TICK_SECONDS)


def greet(settings: Settings, wait: Callable[[], bool]) -> None:
    """Print the service's addresses once the API responds; `wait` is called between attempts and aborts with False."""
    from service.shared.errors import NotFound

    until = time.monotonic() + START_SECONDS
    while not is_responding(settings):
        if not wait():
            return
        if time.monotonic() > until:
            raise CliError(f"The API did not respond within {START_SECONDS:g} s. Its log: {settings.files.logs}")
    say(f"AdaMSS is up at {settings.resolved_url}")
    try:
        if link := new_link(settings):
            say(f"  sign in   {link}")
    except NotFound as error:  # the service still serves callers with a key
        say(f"  sign in   {error.message}")
    say(f"  docs      {settings.resolved_url}/docs")
    say(f"  files     {settings.resolved_home}")


def link() -> None:
    """Print a link that signs one browser in; it works once, within half a day.

    Run on the machine of the service's database (ADAMSS_HOME, ADAMSS_DATABASE_URL).
    """
    from service.keys.service import key_file
    from service.shared.settings import Settings

    settings = Settings()
    address = new_link(settings)
    if address is None:
        raise CliError(
            f"No key to sign in with: {key_file(settings)} does not exist and ADAMSS_API_KEY is not set. Create a key "
            "with `adamss keys create NAME` and paste it on the sign-in page."
        )
    put(address)


def new_link(settings: Settings) -> str | None:
    """Create a sign-in link directly in the database."""
    from service.cli.keys import database
    from service.keys.sessions import make_link

    with database() as db, db.write() as session:
        return make_link(session, settings)


def is_responding(settings: Settings) -> bool:
    """Whether the API responds."""
    import httpx

    try:
        return httpx.get(f"{settings.resolved_url}/healthz", timeout=2.0).is_success
    except httpx.TransportError:
        return False


def check_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise CliError(
                f"Cannot listen on {settings.host}:{settings.port} ({error.strerror}). The service may already be "
                "running; otherwise choose another port with --port or ADAMSS_PORT."
            ) from error


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def say(sentence: str) -> None:
    put(sentence)


class StopSignals:
    """Handler of SIGINT, SIGTERM and SIGHUP: the first signal requests a stop, a second one an immediate stop."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._receive)

    def hurried(self) -> bool:
        return self._count > 1

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        self.asked.set()
