"""Add a base model from the hub: what can be refused is refused at once, then its files come in the background."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from adamss_core.fileio.walk import files_below
from service.base_models import repository
from service.base_models.adding import check_name, check_operators, checked_facts, taken
from service.base_models.hub_child import STOP
from service.base_models.placing import place
from service.base_models.schemas import HubModelIn, ModelDetailOut
from service.base_models.service import BEAT_SECONDS
from service.http.context import Caller
from service.projects.service import check_storage
from service.shared.added_models import find_added
from service.shared.database.tables import AddedModel, ModelStatus, now
from service.shared.errors import InvalidRequest, ServiceError, Unavailable, model_too_large
from service.shared.ids import new_id
from service.shared.processes.ask import Reply, ask
from service.shared.processes.environment import for_hub
from service.shared.processes.refusals import refusal_in
from service.shared.processes.spawned_process import python
from service.shared.processes.subprocesses import READERS, ConcurrencyLimit
from service.shared.storage.model_folder import (
    CONTENT,
    digest_of,
    partial_folder,
)

logger = logging.getLogger(__name__)

COMMAND = python("service.base_models.hub_child")
LIST_SECONDS, FETCH_SECONDS = 60.0, 86_400.0
MAX_FETCHES = 4

FETCHES = ConcurrencyLimit(MAX_FETCHES, f"The service fetches {MAX_FETCHES} models at a time.", 60)


def add_from_hub(caller: Caller, source: HubModelIn, name: str | None) -> tuple[ModelDetailOut, bool]:
    """Begin to fetch a model, unless it is here or under way already; return it, and whether this began it.

    Args:
        name: for jobs to use; the hub id by default.

    Raises:
        InvalidRequest, TooLarge: the operator does not allow the model, or it cannot be used.
        Conflict: the project has another model of this name.
        Unavailable: the hub does not answer.
    """
    _check_allowed(caller, source.hub_id)
    name = check_name(name or source.hub_id)
    check_operators(caller, name)
    commit, files = _list(source)
    size = sum(files.values())
    if size > caller.settings.max_model_bytes:
        raise model_too_large(caller.settings.max_model_bytes, "hub_id")
    if (there := _there(caller, name, source.hub_id, commit)) is not None:
        return there, False
    row = AddedModel(
        id=new_id("model"),
        project_id=caller.project_id,
        name=name,
        status=ModelStatus.FETCHING,
        hub_id=source.hub_id,
        revision=commit,
        size_bytes=size,
        done_bytes=0,
        files={},
        created_at=now(),
        seen_at=now(),
    )
    with ExitStack() as stack:
        stack.enter_context(FETCHES.slot())
        folder = stack.enter_context(partial_folder(caller.settings.files, row.id))
        fetch = Fetch(caller, row, folder, list(files))
        try:
            _insert(caller, row)
        except IntegrityError:  # another request was quicker
            if (there := _there(caller, name, source.hub_id, commit)) is None:
                raise
            return there, False
        Thread(target=fetch.run, args=(stack.pop_all(),), name=f"fetch {row.id}", daemon=True).start()
    return caller.catalog.show(name), True


class Fetch:
    """The fetch of one model, in a thread of its own, which reports how far it is."""

    def __init__(self, caller: Caller, row: AddedModel, folder: Path, names: list[str]) -> None:
        self._caller, self._folder, self._names = caller, folder, names
        self._id, self._name = row.id, row.name
        self._order = {"hub_id": row.hub_id, "revision": row.revision, "names": names}
        self._ended = Event()

    def run(self, held: ExitStack) -> None:
        """Fetch, check and place the model, and release what is held for it."""
        beat = Thread(target=self._beat, daemon=True)
        with held:
            beat.start()
            try:
                self._complete(_ask(self._order, self._folder, FETCH_SECONDS))
            except ServiceError as error:
                self._change(status=ModelStatus.FAILED, error={"code": error.code, "message": error.message})
            except (OSError, SQLAlchemyError) as error:
                logger.exception("fetching a model failed", extra={"model": self._id})
                full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
                message = "The disk is full." if full else "It could not be stored; see the service's log."
                code = "disk_full" if full else "fetch_failed"
                self._change(status=ModelStatus.FAILED, error={"code": code, "message": message})
            finally:
                self._ended.set()
                beat.join()

    def _complete(self, answer: dict[str, Any]) -> None:
        facts = checked_facts(self._caller.forkserver, self._folder / CONTENT, self._name, "hub_id")
        files, digest = answer["files"], digest_of(answer["files"])
        size = sum(file["size_bytes"] for file in files.values())
        values = {"status": ModelStatus.READY, "files": files, "sha256": digest, "size_bytes": size, "done_bytes": size}

        def change(session: Session) -> bool:
            return repository.change_fetched(session, self._id, **values)

        place(self._caller, self._id, self._name, digest, facts, change)

    def _beat(self) -> None:
        """Report progress until the fetch ends; end its process once the model was deleted."""
        while not self._ended.wait(BEAT_SECONDS):
            if not self._change(done_bytes=_size(self._folder), seen_at=now()):
                (self._folder / STOP).touch()
                return

    def _change(self, **values: object) -> bool:
        """Change the row; return false once the model was deleted."""
        try:
            with self._caller.db.write() as session:
                return repository.change_fetched(session, self._id, **values)
        except SQLAlchemyError as error:
            logger.warning("the progress of a fetch is not recorded: %r", error)
            return True


def _check_allowed(caller: Caller, hub_id: str) -> None:
    if not caller.settings.hub_allowed and hub_id not in caller.settings.hub_models:
        raise InvalidRequest(
            f"Models from the hub are not allowed here, and '{hub_id}' is not on the operator's list "
            "(ADAMSS_HUB_MODELS). Upload its folder instead.",
            code="model_not_allowed",
            param="hub_id",
        )


def _list(source: HubModelIn) -> tuple[str, dict[str, int]]:
    with READERS.slot(), TemporaryDirectory(prefix="adamss-hub-") as folder:
        answer = _ask({"hub_id": source.hub_id, "revision": source.revision}, Path(folder), LIST_SECONDS)
    return str(answer["commit"]), answer["files"]


def _there(caller: Caller, name: str, hub_id: str, commit: str) -> ModelDetailOut | None:
    """Return the project's model of a name, if it is this one; None if the name is free, or its model never came.

    Raises:
        Conflict: the name is another model's.
    """
    there = caller.catalog.find_added(name)
    if there is None or there.status == ModelStatus.FAILED:
        return None
    if (there.hub_id, there.revision) != (hub_id, commit):
        raise taken(name)
    return caller.catalog.show(name)


def _insert(caller: Caller, row: AddedModel) -> None:
    """Insert the row in place of one that failed."""
    with caller.db.write() as session:
        check_storage(session, caller.settings, caller.project_id, row.size_bytes)
        failed = find_added(session, caller.project_id, row.name, lock=True)
        if failed is not None and failed.status == ModelStatus.FAILED:
            failed.deleted_at = now()
            session.flush()
        session.add(row)


def _ask(order: Mapping[str, Any], folder: Path, seconds: float) -> dict[str, Any]:
    """Run the child that asks the hub, and return its answer."""
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    reply: Reply = ask(COMMAND, order, folder, seconds=seconds, environment=for_hub(os.environ) | quiet)
    if reply.exit_code is None:
        raise Unavailable("The hub answers too slowly. Try again later.", code="hub_timeout")
    if reply.answer is None:
        if f"[Errno {errno.ENOSPC}]" in reply.log:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        logger.error("asking the hub failed", extra={"stderr": reply.log})
        raise Unavailable("The hub could not be read. Try again later.", code="hub_failed")
    if (refusal := refusal_in(reply.answer)) is not None:
        raise refusal
    return reply.answer


def _size(folder: Path) -> int:
    total = 0
    for path in files_below(folder):
        with suppress(OSError):  # renamed meanwhile
            total += path.stat().st_size
    return total
