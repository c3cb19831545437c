"""Calls on presets: good values under a name, which specs choose by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from service.client.preset_types import PresetJson
from service.client.sender import PAGE, Sender


class PresetCalls(Sender):
    """Presets."""

    def presets(self) -> list[PresetJson]:
        """List the values that each kind of job starts from, then the project's own presets."""
        return cast(list[PresetJson], list(self._pages("/presets", {}, PAGE)))

    def get_preset(self, name: str) -> PresetJson:
        return cast(PresetJson, self._get(f"/presets/{name}"))

    def save_preset(
        self,
        name: str,
        *,
        job: str | None = None,
        sweep: str | None = None,
        trial: int | None = None,
        fields: Mapping[str, Any] | None = None,
        task: str | None = None,
        replace: bool = False,
    ) -> PresetJson:
        """Save a preset from one of `job`, `sweep` and `fields`; a spec chooses it by {"preset": name}.

        Args:
            trial: number of the sweep's trial; None takes the best one.
            fields: values by the paths of their fields, such as {"training.learning_rate": 0.008}.
            task: of given `fields`; None is text classification.
            replace: also where the project has a preset of this name.
        """
        given = {"job": job, "sweep": sweep, "trial": trial, "fields": fields, "task": task}
        body = {"name": name, "replace": replace} | {key: one for key, one in given.items() if one is not None}
        return cast(PresetJson, self._send("POST", "/presets", json=body).json())

    def delete_preset(self, name: str) -> None:
        """Delete one of the project's own presets; jobs that were submitted with it keep their values."""
        self._send("DELETE", f"/presets/{name}")
