"""Lengths of a data set's rows in tokens: measured in the background once, guessed from characters until then."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy.exc import IntegrityError

from adamss_core.spec import JobSpec, Lengths, record_of
from adamss_core.spec.lengths import UNKNOWN, joined_lengths, lengths_of_characters
from service.base_models.service import MAIN
from service.http.context import Caller
from service.jobs import repository
from service.shared.database.engine import Database
from service.shared.database.tables import Dataset, Json, TokenLengths, now
from service.shared.processes.ask import ask_model_reader
from service.shared.processes.background import BackgroundQueue
from service.shared.processes.forkserver import ForkServer
from service.shared.processes.subprocesses import READER_LIMITS
from service.shared.storage.store_errors import FileOnItsWay

MODULE = "adamss_core.training.length_sample"
SECONDS = 300.0  # a chat template comes with the model and may never end
LIMITS = READER_LIMITS | {resource.RLIMIT_FSIZE: 2**30}
MEASURING = (
    "The rows' lengths in tokens are being measured, so memory is estimated from their characters and may be far off. "
    "Repeat the dry run in some seconds."
)


@dataclass(frozen=True)
class LengthKey:
    """Primary key of `TokenLengths`."""

    dataset_id: str
    model: str
    revision: str
    columns: str


class LengthMeasurer:
    """Measure lengths in the background, one data set at a time."""

    def __init__(self, db: Database, forkserver: ForkServer) -> None:
        self._db, self._forkserver = db, forkserver
        self._queue = BackgroundQueue("token-lengths")

    def measure(self, key: LengthKey, order: Json) -> bool:
        """Ask for a measurement, unless it is under way or has failed; return whether it is still to come.

        Args:
            order: as `adamss_core.training.length_sample` reads it.
        """
        return self._queue.ask(key, lambda: self._measure(key, order))

    def close(self) -> None:
        """Start no further measurement; one under way ends with its process."""
        self._queue.close()

    def _measure(self, key: LengthKey, order: Json) -> str | None:
        """Keep what a child process measures; return why it did not."""
        local = Path(order["model"]).is_dir()
        with TemporaryDirectory(prefix="adamss-lengths-") as folder:
            reply = ask_model_reader(
                self._forkserver, MODULE, order, Path(folder), seconds=SECONDS, offline=local, limits=LIMITS
            )
        if reply.answer is None:
            return reply.log
        row = TokenLengths(**vars(key), lengths=reply.answer, measured_at=now())
        with suppress(IntegrityError), self._db.write() as session:  # another API process was quicker
            if session.get(Dataset, key.dataset_id) is not None:
                session.merge(row)
        return None


def find_lengths(caller: Caller, spec: JobSpec, train: Sequence[Dataset]) -> tuple[Lengths, list[str]]:
    """Return the lengths of the training rows, and a warning where they are still to be measured.

    Args:
        train: a data set for each of the spec's `training_sets`.
    """
    if not record_of(spec).has_tokens:
        return UNKNOWN, []
    found = [_lengths_of(caller, spec, dataset) for dataset in train]
    shares = [one.weight * dataset.rows for one, dataset in zip(spec.dataset.training_sets, train, strict=True)]
    lengths = joined_lengths([lengths for lengths, _ in found], shares)
    return lengths, [MEASURING] if any(is_coming for _, is_coming in found) else []


def _lengths_of(caller: Caller, spec: JobSpec, dataset: Dataset) -> tuple[Lengths, bool]:
    """Return the lengths of a data set's rows, and whether they are still to be measured."""
    key = _key(caller, spec, dataset.id)
    with caller.db.read() as session:
        known = repository.find_lengths(session, vars(key))
    if known is not None and "error" not in known:
        return Lengths.model_validate(known), False
    guessed = _guessed(spec, dataset)
    if known is not None or caller.settings.length_sample == 0:
        return guessed, False
    try:
        order = _order(caller, spec, dataset.id)
    except FileOnItsWay:  # a dry run does not wait for it
        return guessed, True
    return guessed, caller.lengths.measure(key, order)


def _key(caller: Caller, spec: JobSpec, dataset_id: str) -> LengthKey:
    is_folder = caller.catalog.is_known(spec.base_model)
    revision = caller.catalog.version(spec.base_model) if is_folder else spec.revision or MAIN
    columns = spec.model_dump_json(include={"task": True, "problem_type": True, "dataset": _columns(spec)})
    return LengthKey(dataset_id, spec.base_model, revision, hashlib.sha256(columns.encode()).hexdigest())


def _columns(spec: JobSpec) -> set[str]:
    return set(record_of(spec).dataset_fields)


def _order(caller: Caller, spec: JobSpec, dataset_id: str) -> dict[str, Any]:
    folder = caller.catalog.folder(spec.base_model)
    return {
        "spec": spec.model_copy(update={"webhook": None}).model_dump(mode="json"),
        "rows": str(caller.host_files.dataset(dataset_id)[0]),
        "model": str(folder or spec.base_model),
        "revision": None if folder else spec.revision,
        "sample": caller.settings.length_sample,
    }


def _guessed(spec: JobSpec, train: Dataset) -> Lengths:
    """Guess the lengths from the profile of the columns that the model reads."""
    record = record_of(spec)
    profiles = {column["name"]: column for column in train.profile["columns"]}
    inputs = set(record.input_columns(spec))
    read = [(field, profiles[name]) for field, name in record.columns(spec).items() if name in inputs]
    words = any(record.kind_of(field) == "words" and column["type"] == "list" for field, column in read)
    longest, mean = (sum(column[part] for _, column in read) for part in ("max_length", "mean_length"))
    return lengths_of_characters(longest, mean, words)
