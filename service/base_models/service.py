"""Catalog of the allowed base models and their facts."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from threading import Lock

from sqlalchemy.exc import IntegrityError

from adamss_core.spec import ModelFacts, facts_format
from adamss_core.spec.job import MODEL_NAME
from adamss_core.spec.vocabulary import tokens_without_row
from service.base_models import inspection, repository
from service.base_models.schemas import ModelOut
from service.shared.database.engine import Database
from service.shared.database.tables import Json
from service.shared.errors import InvalidRequest, ServiceError, quoted_names
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings

CONFIG = "config.json"
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")  # config and tokenizer: the sources of facts
MAIN = "main"


class Catalog:
    """The base models: folders in the models folder, and hub ids if allowed."""

    def __init__(self, settings: Settings, db: Database, forkserver: ForkServer) -> None:
        self._settings, self._db, self._forkserver = settings, db, forkserver
        self._lock = Lock()
        self._locks: dict[tuple[str, str], Lock] = {}

    def folders(self) -> list[str]:
        """List the names of the folders with a config."""
        root = self._settings.files.models
        folders = [path.parent.relative_to(root) for level in ("*", "*/*") for path in root.glob(f"{level}/{CONFIG}")]
        return sorted(name.as_posix() for name in folders if re.fullmatch(MODEL_NAME, name.as_posix()))

    def list_models(self) -> list[ModelOut]:
        """List every folder with its facts; the first inspection of a folder takes seconds."""
        return [self._describe(name) for name in self.folders()]

    def facts(self, name: str, revision: str | None) -> ModelFacts:
        """Return the facts of a model, inspected once per version of its folder or per revision.

        Raises:
            InvalidRequest: the model does not exist, is not allowed, or cannot be used.
            Unavailable: the inspection failed.
        """
        folder = self.folder(name)
        if folder is None:
            self._require_hub(name)
            return ModelFacts.model_validate(self._inspected(name, revision or MAIN, name, revision, local=False))
        if revision is not None:
            raise InvalidRequest(
                f"'{name}' is a folder, which has no revisions. Leave revision out.",
                code="invalid_field",
                param="revision",
            )
        version = _readable_version(name, folder)
        return ModelFacts.model_validate(self._inspected(name, version, str(folder), None, local=True))

    def folder(self, name: str) -> Path | None:
        """Return the folder of a model, or None; a folder takes precedence over a hub model of its name."""
        path = self._settings.files.model(name)
        return path if re.fullmatch(MODEL_NAME, name) and (path / CONFIG).is_file() else None

    def _require_hub(self, name: str) -> None:
        if "/" not in name:  # a hub id has an organisation, so this names a folder
            raise InvalidRequest(
                f"Model '{name}' does not exist. {self._available()}", code="unknown_model", param="base_model"
            )
        if not self._settings.hub_allowed and name not in self._settings.hub_models:
            raise InvalidRequest(
                f"Models from the hub are not allowed here, and '{name}' is not on the operator's list "
                f"(ADAMSS_HUB_MODELS). {self._available()}",
                code="model_not_allowed",
                param="base_model",
            )

    def _available(self) -> str:
        names = [*self.folders(), *self._settings.hub_models]
        return f"Available are {quoted_names(names)}." if names else "Put one into the service's models folder."

    def _inspected(self, name: str, version: str, model: str, revision: str | None, *, local: bool) -> Json:
        with self._lock:
            lock = self._locks.setdefault((name, version), Lock())
        with lock:  # concurrent submits wait for one inspection
            with self._db.read() as session:
                known = repository.find(session, name, version)
            if known is None or known.get("format") != facts_format():
                try:
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

    def _describe(self, name: str) -> ModelOut:
        try:
            facts = self.facts(name, None)
        except ServiceError as error:
            return ModelOut(name=name, model_type=_model_type(self.folder(name)), problem=error.message)
        problem = tokens_without_row(name, facts.token_ids, facts.embedding_rows)
        return ModelOut(
            name=name,
            problem=None if problem is None else " ".join(problem),
            model_type=facts.model_type,
            parameters=facts.parameters,
            tasks=facts.tasks,
            default_targets=facts.default_targets,
            max_length=facts.max_positions,
        )


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


def _model_type(folder: Path | None) -> str | None:
    try:
        value = json.loads((folder / CONFIG).read_bytes())["model_type"] if folder else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else None
