"""Calls that use a finished model: predictions and downloads."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import httpx

from service.client.archive import unpack
from service.client.errors import ApiError, api_error
from service.client.sender import BUSY, PAGE, PAUSES, Sender
from service.client.types import ArtifactJson, PieceJson

DATA = "data: "  # begins an event of a stream


class ModelCalls(Sender):
    """A finished job's model."""

    def predict(self, job: str, inputs: Sequence[str | Mapping[str, Any]], **options: Any) -> list[dict[str, Any]]:
        """Predict with a finished job's model.

        Args:
            job: its id; or a registered model, as name, name@label or name@version.
            inputs: at most 64; objects with the fields of the job's data set (text, text_pair, tokens, prompt,
                messages; image in base64), or strings if the task has a single field.
            options: max_new_tokens, temperature and seed of a model that generates text; checkpoint, the step of one
                whose model answers; with_base, whether each answer has that of the base model as `base`.
        """
        body = {"inputs": [one if isinstance(one, str) else dict(one) for one in inputs]} | options
        # Not repeated after a timeout: equal inputs would take as long again.
        response = self._send("POST", _predict_path(job), json=body, repeat=True, retried=BUSY).json()
        return cast(list[dict[str, Any]], response["data"])

    def predict_stream(self, job: str, given: str | Mapping[str, Any], **options: Any) -> Generator[PieceJson]:
        """Yield the text that a model writes while it is written; closing the iterator stops the model.

        Args:
            job, options: as of `predict`; with `with_base` the base model's text comes after the trained model's.
            given: one input.

        Raises:
            ApiError: the service refuses, or the text breaks off.
        """
        body = {"inputs": [given if isinstance(given, str) else dict(given)]} | options
        try:
            with self._http.stream("POST", f"{_predict_path(job)}/stream", json=body) as response:
                if not response.is_success:
                    response.read()
                    raise api_error(response)
                for line in response.iter_lines():
                    if line.startswith(DATA):
                        yield _piece(line.removeprefix(DATA))
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def artifacts(self, job: str) -> list[ArtifactJson]:
        return list(self._pages(f"/jobs/{job}/artifacts", {}, PAGE))

    def download(self, job: str, name: str, folder: str | Path, *, extract: bool = False) -> Path:
        """Download an artifact, resuming an earlier try, and check its sha256.

        Args:
            name: adapter, lora, merged or metrics.
            folder: created if needed.
            extract: whether to unpack the zip, for `from_pretrained` and `load_adapter`.

        Returns:
            `folder/name.zip`, or the folder `folder/name` with `extract`.
        """
        artifact = next((entry for entry in self.artifacts(job) if entry["name"] == name), None)
        if artifact is None:
            raise ApiError(f"Job {job} has no artifact {name}.", status=404, code="artifact_not_found", param="name")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{name}.zip"
        if not (target.is_file() and sha256_of(target) == artifact["sha256"]):
            self._fetch(f"/jobs/{job}/artifacts/{name}", artifact, target)
        return unpack(target, folder / name) if extract else target

    def _fetch(self, path: str, artifact: ArtifactJson, target: Path) -> None:
        # The name contains the content's hash, so that another job's partial file is never resumed.
        part = target.with_name(f".{target.name}.{artifact['sha256'][:16]}.part")
        for pause in (*PAUSES, None):
            try:
                self._append(path, part, artifact["size_bytes"])
                break
            except httpx.TransportError as error:
                if pause is None:
                    raise self._unreachable(error) from error
                time.sleep(pause)
        if sha256_of(part) != artifact["sha256"]:
            part.unlink()
            raise ApiError(
                f"The checksum of {target.name} is not what the service announced. Download the file again.",
                code="checksum_mismatch",
            )
        part.replace(target)

    def _append(self, path: str, part: Path, size: int) -> None:
        received = part.stat().st_size if part.exists() else 0
        if received >= size > 0:
            return
        headers = {"accept-encoding": "identity"} | ({"range": f"bytes={received}-"} if received else {})
        with self._http.stream("GET", path, headers=headers, follow_redirects=True) as response:
            if response.status_code not in (200, 206):
                response.read()
                raise api_error(response)
            with part.open("ab" if response.status_code == 206 else "wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)


def _predict_path(job: str) -> str:
    return f"/jobs/{job}/predict" if job.startswith("job_") else f"/registry/{job}/predict"


def _piece(text: str) -> PieceJson:
    """Return an event of a stream; raises ApiError for an error after its beginning."""
    piece = json.loads(text)
    if (problem := piece.get("error")) is not None:
        raise ApiError(problem["message"], code=problem["code"], param=problem["param"])
    return cast(PieceJson, piece)


def sha256_of(path: Path) -> str:
    # A copy of adamss_core.fileio.hashing's, on purpose: the client imports only httpx and the standard library.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
