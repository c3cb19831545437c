"""Calls on registered models: versions of trained models under a name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from service.client.errors import ApiError
from service.client.model_types import RegisteredModelJson
from service.client.sender import PAGE, Sender

LIVE = "live"


class RegistryCalls(Sender):
    """Registered models."""

    def publish_model(self, job: str, name: str, labels: Sequence[str] = (LIVE,)) -> RegisteredModelJson:
        """Publish a succeeded job's model as the next version of a name; a job that is one already stays that one.

        Args:
            labels: stage labels that name it from now on; the name alone stands for `live`.
        """
        body = {"job": job, "labels": list(labels)}
        return self._registered("POST", f"/registry/{name}/versions", body, repeat=True)

    def registered_models(self) -> list[RegisteredModelJson]:
        return list(self._pages("/registry", {}, PAGE))

    def registered_model(self, name: str) -> RegisteredModelJson:
        return cast(RegisteredModelJson, self._get(f"/registry/{name}"))

    def label_model(self, name: str, label: str, version: int | None) -> RegisteredModelJson:
        """Let a label name a version; None removes the label."""
        return self._registered("POST", f"/registry/{name}/labels", {"label": label, "version": version}, repeat=True)

    def rollback_model(self, name: str, label: str = LIVE) -> RegisteredModelJson:
        """Let a label name the version that it named before."""
        # Not repeated: a second one would go back further.
        return self._registered("POST", f"/registry/{name}/rollback", {"label": label})

    def set_model_webhook(self, name: str, webhook: str | None) -> RegisteredModelJson:
        """Set the URL that receives a model's changes; None for none."""
        return self._registered("PATCH", f"/registry/{name}", {"webhook": webhook}, repeat=True)

    def withdraw_model(self, name: str, version: int | None = None, *, force: bool = False) -> None:
        """Withdraw a version, or the name with all its versions; their jobs stay.

        Args:
            force: also where a label names the version.
        """
        path = f"/registry/{name}" if version is None else f"/registry/{name}/versions/{version}"
        self._send("DELETE", path, params={"force": "true"} if force else None)

    def job_of_model(self, reference: str) -> str:
        """Return the id of the job that `name`, `name@label` or `name@version` stands for now.

        Raises:
            ApiError: there is none.
        """
        name, _, part = reference.partition("@")
        model = self.registered_model(name)
        number = int(part) if part.isdecimal() else model["labels"].get(part or LIVE)
        for version in model["versions"]:
            if version["version"] == number:
                return version["job"]
        has = ", ".join([*model["labels"], *(str(version["version"]) for version in model["versions"])])
        raise ApiError(
            f"{name} has no version or label '{part or LIVE}'. It has: {has}.", status=404, code="version_not_found"
        )

    def _registered(self, method: str, path: str, body: dict[str, Any], *, repeat: bool = False) -> RegisteredModelJson:
        return cast(RegisteredModelJson, self._send(method, path, json=body, repeat=repeat).json())
