"""Catalog of the allowed base models and their facts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy.exc import IntegrityError

from adamss_core.fileio.walk import files_below
from adamss_core.spec import ModelFacts, facts_format
from adamss_core.spec.job import MODEL_NAME
from adamss_core.spec.vocabulary import tokens_without_row
from service.base_models import inspection, repository
from service.base_models.schemas import FetchProgressOut, ModelDetailOut, ModelFileOut, ModelOut, UsedByOut
from service.shared.added_models import find_added, finished_users, unfinished_users
from service.shared.database.engine import Database
from service.shared.database.tables import AddedModel, Json, ModelStatus, now
from service.shared.errors import InvalidRequest, NotFound, ServiceError, quoted_names
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings
from service.shared.storage.host_files import HostFiles

CONFIG = "config.json"
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")  # config and tokenizer: the sources of facts
MAIN = "main"
BEAT_SECONDS = 2.0  # between two reports of a fetch
INTERRUPTED = timedelta(seconds=90)  # without a report


class Catalog:
    """The base models: folders in the models folder, and hub ids if allowed."""

    def __init__(self, settings: Settings, db: Database, forkserver: ForkServer, host_files: HostFiles) -> None:
        self._settings, self._db, self._forkserver, self._host_files = settings, db, forkserver, host_files
        self._lock = Lock()
        self._locks: dict[tuple[str, str], Lock] = {}
        self._project_id: str | None = None

    def of(self, project_id: str) -> Catalog:
        """Return the catalog as a project sees it, with the models that it has added."""
        own = copy(self)
        own._project_id = project_id
        return own

    def folders(self) -> list[str]:
        """List the names of the folders with a config."""
        root = self._settings.files.models
        folders = [path.parent.relative_to(root) for level in ("*", "*/*") for path in root.glob(f"{level}/{CONFIG}")]
        return sorted(name.as_posix() for name in folders if re.fullmatch(MODEL_NAME, name.as_posix()))

    def names(self) -> list[str]:
        """List the names of all models that are here."""
        return sorted({*self.folders(), *(row.name for row in self._added_models())})

    def list_models(self) -> list[ModelOut]:
        """List every model that is here with its facts; the first inspection of a folder takes seconds."""
        added = {row.name: row for row in self._added_models()}
        return [self._describe(name, added.get(name)) for name in sorted({*self.folders(), *added})]

    def show(self, name: str) -> ModelDetailOut:
        """Return a model that is here, with its files and the jobs that name it.

        Raises:
            NotFound: no such model is here.
        """
        added = self.find_added(name)
        if added is None and not self.is_known(name):
            raise NotFound(f"There is no model '{name[:200]}' here. {self._available()}", code="model_not_found")
        files = {} if added is None else added.files
        return ModelDetailOut(
            **self._describe(name, added).model_dump(),
            files=[ModelFileOut(name=file, **values) for file, values in files.items()],
            used_by=self._used_by(name),
        )

    def facts(self, name: str, revision: str | None) -> ModelFacts:
        """Return the facts of a model, inspected once per version of its folder or per revision.

        Raises:
            InvalidRequest: the model does not exist, is not allowed, or cannot be used.
            Unavailable: the inspection failed.
        """
        added = self.find_added(name)
        if added is not None:
            _check_added(added, revision)
        folder = self._path(name)
        if folder is None:
            self._require_hub(name)
            return ModelFacts.model_validate(self._inspected(name, revision or MAIN, name, revision, local=False))
        if revision is not None and added is None:
            raise InvalidRequest(
                f"'{name}' is a folder, which has no revisions. Leave revision out.",
                code="invalid_field",
                param="revision",
            )
        version = self.version(name)
        return ModelFacts.model_validate(self._inspected(name, version, str(folder), None, local=True))

    def folder(self, name: str) -> Path | None:
        """Return the folder of a model, fetched from the store if this host lacks it, or None.

        A folder takes precedence over a hub model of its name.

        Raises:
            StorageUnavailable, StoredFileGone, StoredFileDamaged: it is not on this host, and cannot be fetched.
        """
        path = self._path(name)
        return None if path is None else self._host_files.local(path)

    def is_known(self, name: str) -> bool:
        """Return whether a model is a folder, on this host or in the store."""
        return self._path(name) is not None

    def version(self, name: str) -> str:
        """Return the version of a model's files, by which facts about them are kept; equal on every host."""
        if (added := self.find_added(name)) is not None and added.sha256 is not None:
            return added.sha256
        path = self._path(name)
        return MAIN if path is None else _readable_version(name, path)

    def _path(self, name: str) -> Path | None:
        """Return the place of a model's folder, whether or not this host has it, or None."""
        if not re.fullmatch(MODEL_NAME, name):
            return None
        if (added := self.find_added(name)) is not None:
            return self._settings.files.added_model(added.id) if added.status == ModelStatus.READY else None
        path = self._settings.files.model(name)
        return path if (path / CONFIG).is_file() else None

    def find_added(self, name: str) -> AddedModel | None:
        """Find the model that the project has added under a name."""
        if self._project_id is None:
            return None
        with self._db.read() as session:
            added = find_added(session, self._project_id, name)
        return None if added is None else self._settled(added)

    def _settled(self, added: AddedModel) -> AddedModel:
        """Mark a model as failed if nobody fetches it any more."""
        if added.status != ModelStatus.FETCHING or now() - (added.seen_at or added.created_at) < INTERRUPTED:
            return added
        error = {"code": "fetch_interrupted", "message": "The service was stopped while it fetched the model."}
        with self._db.write() as session:
            repository.change_fetched(session, added.id, status=ModelStatus.FAILED, error=error)
            return session.get_one(AddedModel, added.id)

    def _added_models(self) -> Sequence[AddedModel]:
        if self._project_id is None:
            return []
        with self._db.read() as session:
            added = repository.added_to(session, self._project_id)
        return [self._settled(row) for row in added]

    def _used_by(self, name: str) -> UsedByOut:
        if self._project_id is None:
            return UsedByOut(unfinished=[], finished=[])
        with self._db.read() as session:
            unfinished = unfinished_users(session, self._project_id, name)
            finished = [one for one in finished_users(session, self._project_id, name) if one not in unfinished]
        return UsedByOut(unfinished=unfinished, finished=finished)

    def require(self, name: str) -> None:
        """Raise InvalidRequest unless a model is here or may come from the hub."""
        if not self.is_known(name):
            self._require_hub(name)

    def _require_hub(self, name: str) -> None:
        if "/" not in name:  # a hub id has an organisation, so this names a folder
            raise InvalidRequest(
                f"Model '{name}' {self._absence(name)}. {self._available()}", code="unknown_model", param="base_model"
            )
        if not self._settings.hub_allowed and name not in self._settings.hub_models:
            raise InvalidRequest(
                f"Models from the hub are not allowed here, and '{name}' is not on the operator's list "
                f"(ADAMSS_HUB_MODELS). {self._available()}",
                code="model_not_allowed",
                param="base_model",
            )

    def _absence(self, name: str) -> str:
        """Say why a model is not here."""
        if self._project_id is None:
            return "does not exist"
        with self._db.read() as session:
            moment = repository.deleted_at(session, self._project_id, name)
        return "does not exist" if moment is None else f"was deleted on {moment:%Y-%m-%d at %H:%M} UTC; add it again"

    def _available(self) -> str:
        names = [*self.names(), *self._settings.hub_models]
        return f"Available are {quoted_names(names)}." if names else "Add one: adamss models add FOLDER."

    def _inspected(self, name: str, version: str, model: str, revision: str | None, *, local: bool) -> Json:
        with self._lock:
            lock = self._locks.setdefault((name, version), Lock())
        with lock:  # concurrent submits wait for one inspection
            with self._db.read() as session:
                known = repository.find(session, name, version)
            if known is None or known.get("format") != facts_format():
                try:
                    if local:
                        self._host_files.local(Path(model))
                    known = inspection.inspect(self._forkserver, model, revision, local=local)
                except InvalidRequest as error:
                    if not local:  # not stored: the hub may have the model at the next try
                        raise
                    known = {"format": facts_format(), "refused": {"code": error.code, "message": error.message}}
                with suppress(IntegrityError), self._db.write() as session:  # another API process was quicker
                    repository.keep(session, name, version, known)
        if problem := known.get("refused"):
            raise InvalidRequest(problem["message"], code=problem["code"], param="base_model")
        return known

    def _describe(self, name: str, added: AddedModel | None) -> ModelOut:
        known = _of_folder(self._path(name)) if added is None else self._of_row(added)
        try:
            facts = self.facts(name, None)
        except ServiceError as error:
            return ModelOut(name=name, model_type=_model_type(self._path(name)), problem=error.message, **known)
        problem = tokens_without_row(name, facts.token_ids, facts.embedding_rows)
        return ModelOut(
            name=name,
            **known,
            problem=None if problem is None else " ".join(problem),
            model_type=facts.model_type,
            parameters=facts.parameters,
            tasks=facts.tasks,
            default_targets=facts.default_targets,
            max_length=facts.max_positions,
        )

    def _of_row(self, row: AddedModel) -> dict[str, Any]:
        """Return what is known of an added model besides its facts."""
        known: dict[str, Any] = {
            "source": "upload" if row.hub_id is None else "hub",
            "status": row.status,
            "size_bytes": row.size_bytes,
            "hub_id": row.hub_id,
            "revision": row.revision,
            "sha256": row.sha256,
            "created_at": row.created_at,
        }
        if row.status == ModelStatus.FETCHING:
            known["progress"] = FetchProgressOut(done_bytes=row.done_bytes, total_bytes=row.size_bytes)
        return known


def _check_added(added: AddedModel, revision: str | None) -> None:
    """Raise InvalidRequest for an added model that cannot be used yet, or is of another revision."""
    if added.status != ModelStatus.READY:
        raise InvalidRequest(_state_of(added), code=f"model_{added.status}", param="base_model")
    if revision not in (None, added.revision):
        at = f"was fetched at revision {added.revision}" if added.revision else "was uploaded, and has no revisions"
        raise InvalidRequest(f"Model '{added.name}' {at}. Leave revision out.", code="invalid_field", param="revision")


def _state_of(added: AddedModel) -> str:
    if added.status == ModelStatus.FETCHING:
        share = 100 * added.done_bytes // max(1, added.size_bytes)
        return f"Model '{added.name}' is still being fetched from the hub ({share} %). Try again once it is here."
    reason = (added.error or {}).get("message", "It could not be fetched.")
    return f"Model '{added.name}' is not here: {reason} Add it again, or delete it."


def folder_version(folder: Path) -> str:
    """Hash the config's content, and name, size and time of config, tokenizer and weight files."""
    digest = hashlib.sha256()
    for pattern in SMALL_FILES:
        for path in sorted(folder.glob(pattern)):
            stat = path.stat()
            digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    digest.update((folder / CONFIG).read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        stat = path.stat()
        digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _readable_version(name: str, folder: Path) -> str:
    try:
        return folder_version(folder)
    except OSError as error:  # a link into nowhere, a file of somebody else's
        raise InvalidRequest(
            f"The files of model '{name}' cannot be read ({error.strerror}). Have the operator mend its folder.",
            code="model_unusable",
            param="base_model",
        ) from error


def _of_folder(folder: Path | None) -> dict[str, Any]:
    try:
        return {"size_bytes": sum(file.stat().st_size for file in files_below(folder))} if folder else {}
    except OSError:  # a file of somebody else's
        return {}


def _model_type(folder: Path | None) -> str | None:
    try:
        value = json.loads((folder / CONFIG).read_bytes())["model_type"] if folder else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else None
