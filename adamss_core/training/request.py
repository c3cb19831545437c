"""The interface of a run: its request, its reporter and its result. Torch-free."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from adamss_core.spec import JobSpec, Plan
from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.estimate import Elements
from adamss_core.spec.shapes import removes_pruned

MetricKind = Literal["train", "eval"]
Values = dict[str, float | int | None]


@dataclass(frozen=True)
class PublishedModel:
    """A model that an earlier run has published.

    Attributes:
        archive: zip of the artifact.
        sha256: of the zip.
        is_base: whether the base model alone is meant, for which the artifact only names task, classes and lengths.
    """

    archive: Path
    sha256: str
    is_base: bool = False


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint of an earlier run, and what of its job its files do not hold.

    Attributes:
        folder: of the checkpoint.
        adamss: JSON of the settings that it was trained with.
        classes: names of the classes in the order of their ids; empty where they are not known.
    """

    folder: Path
    adamss: dict[str, Any]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class RunRequest:
    """Inputs of one run.

    Attributes:
        job_id: recorded in checkpoints and manifests, and not used otherwise.
        spec: the job; where its ASA schedule says "auto", the run derives it from its number of steps.
        train_file, eval_file: JSONL, one object per row. Without `eval_file` a share of the training rows is held out.
        more_train_files: of further data sets to train on, in the spec's order.
        test_file: JSONL, evaluated once with the published model.
        evaluates: the model that is evaluated on `test_file` instead of training one
            (`adamss_core.evaluation_job.evaluate_model`).
        inspects: whether the spectrum of the model and of the training rows in it is measured instead of training
            (`adamss_core.spectrum_job.measure_spectrum`).
        model: path of a local folder, or a hub id.
        revision: of a hub model.
        folder: the run's own folder, for `checkpoints/` and `artifacts/`.
        cache: folder for finished decompositions.
        init_from: zip of the adapter, or the checkpoint, for a warm start.
        publishes: folder of the checkpoint of an equal job, from which artifacts are made instead of training.
        keep_checkpoints: number of newest checkpoints to keep, beside the best one.
        operator_limit: seconds that no training may exceed, whatever the spec says; None for no limit.
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
    init_from: Path | KeptCheckpoint | None = None
    publishes: Path | None = None
    test_file: Path | None = None
    more_train_files: tuple[Path, ...] = ()
    evaluates: PublishedModel | None = None
    inspects: bool = False
    operator_limit: float | None = None

    @property
    def time_limit(self) -> float | None:
        """Return the seconds of training over all attempts at most: the smaller of the spec's and the operator's."""
        limits = (self.spec.time_limit_seconds, self.operator_limit)
        return min((limit for limit in limits if limit is not None), default=None)

    @property
    def train_files(self) -> tuple[Path, ...]:
        """Return a file for each of the spec's `training_sets`."""
        return (self.train_file, *self.more_train_files)

    def to_json(self) -> str:
        """Encode the request for another process."""
        fields = {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}
        fields["more_train_files"] = list(map(str, self.more_train_files))
        if (evaluated := self.evaluates) is not None:
            fields["evaluates"] = vars(evaluated) | {"archive": str(evaluated.archive)}
        if isinstance(start := self.init_from, KeptCheckpoint):
            fields["init_from"] = vars(start) | {"folder": str(start.folder)}
        return json.dumps(fields | {"spec": self.spec.model_dump(mode="json")})

    @classmethod
    def from_json(cls, text: str) -> RunRequest:
        """Decode what `to_json` gave."""
        fields = json.loads(text)
        if isinstance(start := fields.get("init_from"), dict):
            classes = tuple(start["classes"])
            fields["init_from"] = KeptCheckpoint(Path(start["folder"]), start["adamss"], classes)
        for name in ("train_file", "eval_file", "test_file", "folder", "cache", "init_from", "publishes"):
            if isinstance(fields.get(name), KeptCheckpoint):
                continue
            fields[name] = None if fields.get(name) is None else Path(fields[name])
        fields["more_train_files"] = tuple(map(Path, fields.get("more_train_files", ())))
        if (evaluated := fields.get("evaluates")) is not None:
            fields["evaluates"] = PublishedModel(**evaluated | {"archive": Path(evaluated["archive"])})
        return cls(**fields | {"spec": JobSpec.model_validate(fields["spec"])})


@dataclass(frozen=True)
class AdapterSize:
    """Counts of an adapter before pruning, exact once it is made; a resumed run has the same.

    Attributes:
        subspaces: over all modules.
        adapter_parameters: elements of A and B.
        head_parameters: elements of the head and other modules that are trained in full.
        left: elements of A and B that are trained when ASA has pruned, at most.
    """

    subspaces: int
    adapter_parameters: int
    head_parameters: int
    left: int

    @property
    def trainable_parameters(self) -> int:
        return self.adapter_parameters + self.head_parameters

    def elements(self, spec: AdamssSpec) -> Elements:
        """Return A and B at the start, at the end and in the published adapter."""
        published = self.left if removes_pruned(spec) else self.adapter_parameters
        return Elements(peak=self.adapter_parameters, end=self.left, published=published)


class Reporter(Protocol):
    """Observer of a run. A reporter that is slow must buffer; only `artifact` and `decomposition` may wait."""

    def metrics(self, *, kind: MetricKind, step: int, epoch: float, values: Values) -> None:
        """Take the metrics of a logged step ("train") or an evaluation ("eval", at step 0 one before training)."""

    def progress(
        self, *, step: int, total_steps: int, epoch: float, eta_seconds: float | None, asa: dict[str, int] | None
    ) -> None:
        """Take the position after a step; `asa` is {total, active, target}, or None for a run without ASA."""

    def subspaces(self, *, step: int, summary: dict[str, Any]) -> None:
        """Take `AdamssModel.asa_summary()`, at step 0 and at every mask step."""

    def event(self, type: str, message: str, data: dict[str, Any]) -> None:
        """Take an event, as a sentence and as data."""

    def checkpoint(self, *, step: int, path: str, best: bool, values: dict[str, Any]) -> None:
        """Take a complete checkpoint; `path` is relative to the run's folder, `values` the evaluation at this step."""

    def resumed(self, step: int) -> None:
        """Discard all that earlier attempts reported after this step; 0 on a fresh start. Called first."""

    def planned(self, plan: Plan, size: AdapterSize) -> None:
        """Take the plan, once rows and the adapter's elements are counted: its spec's schedule has numbers only."""

    def artifact(self, artifact: ArtifactFile) -> None:
        """Take an artifact that is written and verified; others may fail after it, so it may be stored before this
        returns. One of the same name replaces it: only its card and manifest differ."""

    def result(self, result: dict[str, Any]) -> None:
        """Take the result of a run whose artifacts are complete, while contenders are trained: at each of their steps,
        with `comparison` as far as it is."""

    def decomposition(self, path: Path) -> None:
        """Take the path of a cached decomposition before it is read or computed; may fetch it meanwhile."""

    def stop_requested(self) -> bool:
        """Return whether the run must stop; called at every step."""
        ...


@dataclass(frozen=True)
class ArtifactFile:
    """A zip in the run's artifacts folder, complete, verified and on disk."""

    name: str
    path: Path
    size_bytes: int
    sha256: str
    manifest: dict[str, Any]


@dataclass(frozen=True)
class RunResult:
    """Outcome of a finished run.

    Attributes:
        result: evaluation of the published checkpoint, of the model before training (`before_training`, where the
            task needs no new head), a baseline, steps, pruning, trainable parameters, seconds; `comparison` where the
            job asks for one.
        artifacts: in the spec's order.
        hardest: the held-out rows with the highest loss, as `hardest_examples` returns them.
        evaluation: a report for each part of the data that the published model was evaluated on.
        spectrum: fields of a `SpectrumReport`, of a run that measures one.
    """

    result: dict[str, Any]
    artifacts: list[ArtifactFile]
    hardest: list[dict[str, Any]] = field(default_factory=list)
    evaluation: list[dict[str, Any]] = field(default_factory=list)
    spectrum: dict[str, Any] | None = None
