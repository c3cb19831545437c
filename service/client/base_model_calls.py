"""Calls on base models: list, add, delete."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast
from urllib.parse import quote

import httpx

from service.client.errors import ApiError
from service.client.model_calls import sha256_of
from service.client.model_tar import Progress, file_pieces, model_files, reported, tar_pieces, tar_size
from service.client.model_types import BaseModelJson
from service.client.sender import BUSY, PAGE, UPLOAD_TIMEOUT, Sender, patiently


class BaseModelCalls(Sender):
    """Base models."""

    def models(self) -> list[BaseModelJson]:
        """List the base models that are here."""
        return list(self._pages("/models", {}, PAGE))

    def model(self, name: str) -> BaseModelJson:
        """Get a base model with its files, its users, and its progress while it is fetched."""
        return cast(BaseModelJson, self._get(f"/models/{quote(name)}"))

    def add_model(
        self, path: str | Path, name: str | None = None, *, on_progress: Progress | None = None
    ) -> BaseModelJson:
        """Add a base model: a folder as transformers saves it, packed while it is sent, or a zip or tar of one.

        Adding the same model again returns it, with `created` false, and sends nothing that is there.

        Args:
            name: for jobs to use; the folder's name by default.
            on_progress: called with the bytes that were sent, and their number in all.

        Raises:
            ApiError: the folder is no model, or another model has the name (409, model_exists).
        """
        path = Path(path)
        name = name or (path.resolve().name if path.is_dir() else _stem(path))
        files = model_files(path) if path.is_dir() else None
        if files is not None and (there := self._same_model(name, files)) is not None:
            return there
        total = path.stat().st_size if files is None else tar_size(files)
        headers = {"content-type": "application/octet-stream", "content-length": str(total)}
        answer = self._send(
            "POST",
            "/models",
            params={"name": name},
            headers=headers,
            content=lambda: reported(file_pieces(path) if files is None else tar_pieces(files), total, on_progress),
            timeout=UPLOAD_TIMEOUT,
            repeat=True,  # the service stores a model once
            retried=BUSY,
        )
        return cast(BaseModelJson, answer.json() | {"created": answer.status_code == httpx.codes.CREATED})

    def add_hub_model(self, hub_id: str, revision: str = "main", name: str | None = None) -> BaseModelJson:
        """Have the service fetch a model from the hub, in the background; `wait_for_model` waits for it."""
        query = None if name is None else {"name": name}
        body = {"hub_id": hub_id, "revision": revision}
        answer = self._send("POST", "/models", params=query, json=body, repeat=True)  # begins nothing twice
        return cast(BaseModelJson, answer.json())

    def wait_for_model(
        self, name: str, *, on_progress: Progress | None = None, poll_seconds: float = 1.0
    ) -> BaseModelJson:
        """Wait until a model is fetched.

        Raises:
            ApiError: it could not be fetched.
        """
        while True:
            model = patiently(lambda: self.model(name))
            if model["status"] == "failed":
                raise ApiError(model["problem"] or "The model could not be fetched.", code="model_failed")
            if model["status"] == "ready":
                return model
            if on_progress is not None and (progress := model["progress"]) is not None:
                on_progress(progress["done_bytes"], progress["total_bytes"])
            time.sleep(poll_seconds)

    def delete_model(self, name: str, *, force: bool = False) -> None:
        """Delete a base model that this project has added.

        Args:
            force: also where adapters of finished jobs need it to predict.
        """
        self._send("DELETE", f"/models/{quote(name)}", params={"force": "true"} if force else None)

    def _same_model(self, name: str, files: list[Path]) -> BaseModelJson | None:
        """Return the model of a name if it has these files; None if the name is free.

        Raises:
            ApiError: another model has the name: nothing need be sent to find out.
        """
        try:
            there = self.model(name)
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise
        known = {file["name"]: file["sha256"] for file in there["files"]}
        if known.keys() == {path.name for path in files} and all(sha256_of(path) == known[path.name] for path in files):
            there["created"] = False
            return there
        raise ApiError(
            f"There is another model '{name}' already. Delete it first (adamss models delete {name}), or choose "
            "another name.",
            status=httpx.codes.CONFLICT,
            code="model_exists",
            param="name",
        )


def _stem(path: Path) -> str:
    """Return the name of an archive without its endings."""
    return path.name.removesuffix(path.suffix).removesuffix(".tar")
