"""Spectra of weights alone: measured in the background by a child process, once for each version of a model."""

from __future__ import annotations

import resource
from pathlib import Path
from tempfile import TemporaryDirectory

from adamss_core.spec import ModelFacts
from service.shared.database.engine import Database
from service.shared.database.tables import Json, Spectrum, now
from service.shared.processes.ask import ask_model_reader
from service.shared.processes.background import BackgroundQueue
from service.shared.processes.forkserver import ForkServer
from service.shared.processes.subprocesses import READER_LIMITS
from service.spectra import repository

MODULE = "adamss_core.weight_spectra"
SECONDS = 3_600.0  # on one thread a model of 1B takes minutes, so that requests and training keep the other cores
LIMITS = READER_LIMITS | {
    resource.RLIMIT_CPU: int(SECONDS),
    resource.RLIMIT_AS: 128 * 2**30,
    resource.RLIMIT_FSIZE: 2**36,  # files of a hub model that is not cached yet
}


class WeightSpectra:
    """Measure spectra of weights, one model at a time."""

    def __init__(self, db: Database, forkserver: ForkServer) -> None:
        self._db, self._forkserver = db, forkserver
        self._queue = BackgroundQueue("weight-spectra")

    def measure(self, key: str, order: Json, name: str, version: str) -> bool:
        """Ask for a measurement, unless it is under way or has failed; return whether it is still to come.

        Args:
            order: arguments of `adamss_core.weight_spectra.measure_weights`.
        """
        return self._queue.ask(key, lambda: self._measure(key, order, name, version))

    def problem(self, key: str) -> str | None:
        """Return the reason why a measurement failed."""
        return self._queue.problem(key)

    def close(self) -> None:
        """Start no further measurement; one under way ends with its process."""
        self._queue.close()

    def _measure(self, key: str, order: Json, name: str, version: str) -> str | None:
        """Keep what a child process measures; return why it did not."""
        local = Path(order["model"]).is_dir()
        with TemporaryDirectory(prefix="adamss-spectrum-") as folder:
            reply = ask_model_reader(
                self._forkserver,
                MODULE,
                order,
                Path(folder),
                seconds=SECONDS,
                offline=local,
                limits=LIMITS,
                fetches=not local,
            )
        if reply.answer is None:
            late = reply.exit_code is None
            return f"It took longer than {SECONDS:.0f} s." if late else f"Its process ended. {reply.log}"
        if problem := reply.answer.get("error"):
            return str(problem["message"])
        row = Spectrum(key=key, model=name, revision=version, dataset_id=None, report=reply.answer, measured_at=now())
        with self._db.write() as session:
            repository.keep(session, row)
        return None


def order_of(facts: ModelFacts, names: list[str], model: str, revision: str | None) -> Json:
    """Return the order of the child process."""
    return {
        "model": model,
        "revision": revision,
        "task": facts.tasks[0],
        "names": names,
        "default_targets": facts.default_targets,
    }
