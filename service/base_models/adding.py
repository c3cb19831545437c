"""Add a base model from an archive: unpacked as it arrives, checked as a job's base is, and placed under its id."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

from anyio.to_thread import run_sync
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from adamss_core.spec import ModelFacts
from adamss_core.spec.job import MODEL_NAME
from adamss_core.spec.tasks import find_record
from adamss_core.spec.vocabulary import tokens_without_row
from service.base_models import inspection
from service.base_models.placing import place
from service.base_models.receiving import RECEIVING, Received, receive
from service.base_models.schemas import ModelDetailOut
from service.http.context import Caller
from service.projects.service import check_storage
from service.shared.added_models import find_added
from service.shared.database.tables import AddedModel, Json, ModelStatus, now
from service.shared.errors import Conflict, InvalidRequest
from service.shared.ids import new_id
from service.shared.processes.forkserver import ForkServer
from service.shared.storage.model_folder import CONTENT, digest_of, partial_folder

RESERVED = "spectrum"  # the address of a model's spectrum ends with it


async def add_archive(
    caller: Caller, name: str | None, stream: AsyncIterator[bytes], length: int
) -> tuple[ModelDetailOut, bool]:
    """Store the model of an archive, while it arrives.

    Args:
        stream: the bytes of a zip or tar.
        length: of the archive in bytes, as far as it is known; 0 otherwise.

    Returns:
        The model, and whether it was created: not if the project has the same model under this name.

    Raises:
        InvalidRequest, TooLarge: the archive or its model cannot be used; nothing is stored.
        Conflict: the project has another model of this name.
    """
    name = check_name(name)
    await run_sync(_check_early, caller, name, length)
    model_id = new_id("model")
    limit = caller.settings.max_model_bytes
    with RECEIVING.slot(), ExitStack() as locks:
        folder = await run_sync(locks.enter_context, partial_folder(caller.settings.files, model_id))
        try:
            received = await receive(stream, folder, limit)
            return await run_sync(_store, caller, model_id, name, received, folder / CONTENT)
        finally:
            await run_sync(locks.close)  # removes gigabytes


def check_name(name: str | None) -> str:
    """Return a name that jobs can use.

    Raises:
        InvalidRequest: the name is missing or not allowed.
    """
    if name is None:
        message = "Name the model: POST /models?name=NAME, as jobs will name it in base_model."
        raise InvalidRequest(message, code="missing", param="name")
    if not re.fullmatch(MODEL_NAME, name) or name.endswith(f"/{RESERVED}"):
        raise InvalidRequest(
            "A model is called NAME or ORGANISATION/NAME: letters, digits, '.', '_' and '-', each part begins with a "
            f"letter or digit, and the last is not '{RESERVED}'.",
            code="invalid_field",
            param="name",
        )
    return name


def check_operators(caller: Caller, name: str) -> None:
    """Refuse a name that a folder of the operator's has.

    Raises:
        Conflict: there is such a folder.
    """
    if caller.settings.files.model(name).exists():
        raise Conflict(
            f"'{name}' is a folder that the operator put into the models folder: jobs can use it already. Choose "
            "another name for another model.",
            code="model_exists",
            param="name",
        )


def taken(name: str) -> Conflict:
    """Make the error of a name that another model has."""
    return Conflict(
        f"There is another model '{name}' already. Delete it first (DELETE /models/{name}), or choose another name.",
        code="model_exists",
        param="name",
    )


def checked_facts(forkserver: ForkServer, folder: Path, name: str, param: str) -> Json:
    """Inspect a complete model, and check that it can be fine-tuned for a task at least.

    Raises:
        InvalidRequest: the model cannot be used.
    """
    try:
        facts = inspection.inspect(forkserver, str(folder), None, local=True)
        _check_parts(name, ModelFacts.model_validate(facts))
    except InvalidRequest as error:
        error.param = param
        raise
    return facts


def _check_early(caller: Caller, name: str, length: int) -> None:
    """Refuse what can be refused before the archive has come."""
    check_operators(caller, name)
    with caller.db.write() as session:
        there = find_added(session, caller.project_id, name)
        if there is not None and (there.hub_id is not None or there.status != ModelStatus.READY):
            raise taken(name)
        check_storage(session, caller.settings, caller.project_id, length)


def _store(caller: Caller, model_id: str, name: str, received: Received, folder: Path) -> tuple[ModelDetailOut, bool]:
    digest = digest_of(received.files)
    if (same := _same(caller, name, digest)) is not None:
        return same, False
    facts = checked_facts(caller.forkserver, folder, name, "file")
    row = AddedModel(
        id=model_id,
        project_id=caller.project_id,
        name=name,
        status=ModelStatus.READY,
        size_bytes=(size := sum(file["size_bytes"] for file in received.files.values())),
        done_bytes=size,
        files=received.files,
        sha256=digest,
        created_at=now(),
    )

    def insert(session: Session) -> bool:
        check_storage(session, caller.settings, caller.project_id, size)
        session.add(row)
        return True

    try:
        place(caller, model_id, name, digest, facts, insert)
    except IntegrityError:
        if (same := _same(caller, name, digest)) is None:
            raise
        return same, False  # another upload of the same model was quicker
    return caller.catalog.show(name).model_copy(update={"left_out": received.left_out}), True


def _same(caller: Caller, name: str, digest: str) -> ModelDetailOut | None:
    """Return the project's model of a name if it has the same files; None if the name is free.

    Raises:
        Conflict: the name is another model's.
    """
    with caller.db.read() as session:
        there = find_added(session, caller.project_id, name)
    if there is None:
        return None
    if there.sha256 != digest:
        raise taken(name)
    return caller.catalog.show(name)


def _check_parts(name: str, facts: ModelFacts) -> None:
    """Raise InvalidRequest where tokenizer or image processor is missing for every task, or does not fit."""
    lacking = [[part for part in find_record(task).processors if not getattr(facts, part.fact)] for task in facts.tasks]
    if lacking and all(lacking):
        part = lacking[0][0]
        message = f"The model has no {part.title} that can be loaded. Add its files ({part.files}) to the folder."
        raise InvalidRequest(message, code=part.code)
    if problem := tokens_without_row(name, facts.token_ids, facts.embedding_rows):
        raise InvalidRequest(" ".join(problem), code="tokenizer_mismatch")
