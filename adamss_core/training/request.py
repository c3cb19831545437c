"""What a run is given, what it tells while it runs, and what it gives back. Torch-free."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from adamss_core.spec import JobSpec, Plan

MetricKind = Literal["train", "eval"]
Values = dict[str, float | int | None]


@dataclass(frozen=True)
class RunRequest:
    """One run.

    Attributes:
        job_id: appears in checkpoints and manifests only.
        spec: the job; where its ASA schedule says "auto", the run derives it from its number of steps.
        train_file, eval_file: JSONL, one object a row. Without `eval_file` a share of the training rows is held out.
        model: path of a local folder, or a hub id.
        revision: of a hub model.
        folder: the run's own folder; `checkpoints/` and `artifacts/` are made below it.
        cache: folder for finished decompositions.
        init_from: zip of the adapter that the run starts from.
        keep_checkpoints: how many of the newest checkpoints are kept, beside the best one.
    """

    job_id: str
    spec: JobSpec
    train_file: Path
    eval_file: Path | None
    model: str
    revision: str | None
    folder: Path
    cache: Path | None
    keep_checkpoints: int = 2
    init_from: Path | None = None

    def to_json(self) -> str:
        fields = {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}
        return json.dumps(fields | {"spec": self.spec.model_dump(mode="json")})

    @classmethod
    def from_json(cls, text: str) -> RunRequest:
        fields = json.loads(text)
        for name in ("train_file", "eval_file", "folder", "cache", "init_from"):
            fields[name] = None if fields.get(name) is None else Path(fields[name])
        return cls(**fields | {"spec": JobSpec.model_validate(fields["spec"])})


class Reporter(Protocol):
    """Where a run tells what happens. All calls return at once; buffering is the reporter's business."""

    def metrics(self, *, kind: MetricKind, step: int, epoch: float, values: Values) -> None:
        """One logged step ("train") or one evaluation ("eval")."""

    def progress(
        self, *, step: int, total_steps: int, epoch: float, eta_seconds: float | None, asa: dict[str, int] | None
    ) -> None:
        """After every step; `asa` is {total, active, target}, or None for a run without ASA."""

    def subspaces(self, *, step: int, summary: dict[str, Any]) -> None:
        """`AdamssModel.asa_summary()`, at step 0 and at every mask step."""

    def event(self, type: str, message: str, data: dict[str, Any]) -> None:
        """Something worth knowing, in words and as data."""

    def checkpoint(self, *, step: int, path: str, best: bool, values: dict[str, Any]) -> None:
        """A complete checkpoint; `path` is relative to the run's folder, `values` the evaluation at this step."""

    def resumed(self, step: int) -> None:
        """Everything that earlier attempts reported after this step is void; 0 on a fresh start."""

    def planned(self, plan: Plan, subspaces: int) -> None:
        """The plan of this run, once rows and subspaces are counted: its spec's schedule has numbers only."""

    def stop_requested(self) -> bool:
        """Asked at every step."""
        ...


@dataclass(frozen=True)
class ArtifactFile:
    """One zip below `folder/artifacts`, complete, verified and on disk."""

    name: str
    path: Path
    size_bytes: int
    sha256: str
    manifest: dict[str, Any]


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        result: evaluation of the published checkpoint, majority baseline, steps, pruning, trainable parameters,
            seconds.
        artifacts: in the spec's order.
        worst: the held-out rows with the highest loss, as `worst_examples` gives them.
    """

    result: dict[str, Any]
    artifacts: list[ArtifactFile]
    worst: list[dict[str, Any]] = field(default_factory=list)
