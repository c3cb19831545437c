"""The spec of a job: model, data, method, training, and the files to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from adamss_core.spec.adamss import AdamssSpec, StrictInt, field_error
from adamss_core.spec.contender_names import MOST_CONTENDERS, ContenderName, check_comparison
from adamss_core.spec.resources_spec import ResourcesSpec
from adamss_core.spec.retention import RetentionSpec
from adamss_core.spec.spec_model import SpecModel
from adamss_core.spec.tasks import (
    DEFAULT_TASK,
    MetricChoice,
    ProblemType,
    TaskColumns,
    TaskName,
    TaskTraining,
    check_task_fields,
    implied_task,
    name_owners,
)

MAX_STEPS = 10_000_000  # optimizer steps of a job
MAX_SECONDS = 315_360_000  # ten years
DATASET_ID = r"^ds_[a-z0-9]{8,40}$"
PRESET_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MAX_PRESET_NAME = 80
JOB_ID = r"^job_[a-z0-9]{8,40}$"
# A hub id ("org/name"), or the name of a folder below the models folder. Never a path, never a URL.
MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
REVISION = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$"
WEBHOOK = r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[\x21-\x7e]*)?$"  # no user, no fragment, no white space

DatasetId = Annotated[str, Field(pattern=DATASET_ID)]
ArtifactName = Literal["adapter", "lora", "merged"]
Rate = Annotated[float, Field(gt=0, le=10)]
Priority = Annotated[StrictInt, Field(ge=-100, le=100)]
TimeLimit = Annotated[float, Field(ge=1, le=MAX_SECONDS, strict=True)]  # of training, in seconds


class TrainingSet(SpecModel):
    """One of several data sets to train on."""

    id: DatasetId
    """Id of the data set."""
    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    """See its training rows so often in an epoch: with 2 twice, with 0.5 every second of them, by the seed. Rows that
    are held out are chosen before, so none is on both sides."""


class StartingPoint(SpecModel):
    """The checkpoint of another job that a job starts from."""

    job: Annotated[str, Field(pattern=JOB_ID)]
    """Id of a job that has ended."""
    checkpoint: Annotated[StrictInt, Field(ge=1, le=MAX_STEPS)] | None = None
    """Step of the checkpoint; without it the published adapter is meant."""


def ancestor_of(init_from: Any) -> str | None:
    """Return the id of the job that `init_from` of a stored spec names."""
    return init_from["job"] if isinstance(init_from, dict) else init_from


def training_ids_of(block: Mapping[str, Any]) -> list[str]:
    """Return the ids of the data sets to train on, from the `dataset` block of a stored spec."""
    train = block["train"]
    return [one["id"] if isinstance(one, dict) else one for one in (train if isinstance(train, list) else [train])]


class DataSources(SpecModel):
    train: DatasetId | Annotated[list[DatasetId | TrainingSet], Field(min_length=1, max_length=20)]
    """Id of the uploaded data set to train on; or a list of ids, or of objects with `id` and `weight`, whose rows are
    trained on together. Each must have the job's columns; their classes are joined."""
    eval: DatasetId | None = None
    """Id of a data set to evaluate on. Without it a share of the training rows is held out."""
    test: DatasetId | None = None
    """Id of a data set that is looked at once, at the end, with the published model: neither training nor the choice of
    the checkpoint sees it. Its scores are the result's `test_...`."""
    eval_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the rows held out where there is no `eval`; seeded, and stratified by data set and, where each row has
    one class, by class."""
    group: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Column whose value no two sides share: all rows of a patient, user or document are trained on, or all are held
    out. Rows without a value are groups of their own."""
    max_rows: Annotated[StrictInt, Field(ge=4)] | None = None
    """Use at most so many of the training rows, held-out ones included; chosen by the seed, in the proportions of data
    sets and classes."""

    @model_validator(mode="after")
    def _sets_differ(self) -> Self:
        ids = [one.id for one in self.training_sets]
        if len(set(ids)) < len(ids):
            raise field_error("train", "names a data set twice; name it once, with a weight")
        if self.group is not None and self.eval is not None:
            raise field_error("group", "divides rows that are held out, and has no effect beside eval; leave one out")
        return self

    @property
    def training_sets(self) -> tuple[TrainingSet, ...]:
        """Return the data sets to train on, with their weights."""
        named = self.train if isinstance(self.train, list) else [self.train]
        return tuple(TrainingSet(id=one) if isinstance(one, str) else one for one in named)


class DatasetSpec(TaskColumns, DataSources):
    """Which rows are trained on and which are held out."""


class CommonTraining(SpecModel):
    epochs: Annotated[float, Field(gt=0, le=1_000)] = 3
    """Passes over the training rows; ignored where `max_steps` is given."""
    max_steps: Annotated[StrictInt, Field(ge=1, le=MAX_STEPS)] | None = None
    """Number of optimizer steps."""
    batch_size: Annotated[StrictInt, Field(ge=1, le=4_096)] = 32
    """Examples per optimizer step, before accumulation; several devices share them."""
    gradient_accumulation_steps: Annotated[StrictInt, Field(ge=1, le=1_024)] = 1
    """Batches whose gradients are added up for one optimizer step: 1 where `batch_size` is given, else as the task's
    preset has it."""
    learning_rate: Rate = 1e-2
    """Peak rate of A and B; AdaMSS wants about ten times LoRA's. The default depends on the task, as do those of a few
    other fields: `GET /presets` lists them."""
    head_learning_rate: Rate | None = 1e-3
    """Peak rate of the modules trained in full; null takes `learning_rate`."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """AdamW's weight decay."""
    lr_scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """What the rates do after the warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.06
    """Share of the steps over which the rates rise from zero."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1_000)] | None = 1.0
    """Gradients are clipped to this norm; null does not clip."""
    max_length: Annotated[StrictInt, Field(ge=4, le=131_072)] = 256
    """Tokens per example; what becomes of longer ones says `over_length`. An encoder-decoder that generates text takes
    this many of the prompt and this many of the completion. Has no effect on images."""
    over_length: Literal["truncate", "drop", "raise"] = "truncate"
    """Examples of more than `max_length` tokens: cut them, leave them out, or refuse to train. Counted in an event."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Mixed precision; "auto" takes bf16 where the device has it, else fp32, which regression always gets."""
    gradient_checkpointing: Annotated[bool, Field(strict=True)] = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third slower."""
    compile: Annotated[bool, Field(strict=True)] = False
    """Run the model through torch.compile: minutes at the start and after each pruning, faster steps afterwards."""
    quantization: Literal["4bit", "8bit"] | None = None
    """Load the base model in 4 or 8 bits, where bitsandbytes is installed."""
    dataloader_workers: Annotated[StrictInt, Field(ge=0, le=16)] = 0
    """Threads that prepare batches ahead, which helps with images; 0 prepares each batch when it is needed."""
    eval_steps: Annotated[StrictInt, Field(ge=1, le=MAX_STEPS)] | Literal["epoch"] = "epoch"
    """Evaluate every so many steps, or at the end of each epoch; text generation also before the first step, to show
    what the model could do before."""
    logging_steps: Annotated[StrictInt, Field(ge=1, le=100_000)] = 5
    """Write a row of metrics every so many steps."""
    checkpoint_steps: Annotated[StrictInt, Field(ge=1, le=MAX_STEPS)] | Literal["auto"] = "auto"
    """Write a checkpoint every so many steps; "auto" about every minute and at each evaluation."""
    early_stopping_patience: Annotated[StrictInt, Field(ge=1, le=1_000)] | None = None
    """Stop after so many evaluations without improvement; not before pruning has ended."""
    metric_for_best: MetricChoice = "auto"
    """Evaluation metric by which the best checkpoint is chosen; "auto" takes the task's own."""
    seed: Annotated[StrictInt, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of the split, the order of the rows, the head and dropout."""


class TrainingSpec(TaskTraining, CommonTraining):
    """How it is trained."""


name_owners(DatasetSpec, "dataset.")
name_owners(TrainingSpec, "training.")


class JobSpec(SpecModel):
    """A fine-tuning job."""

    name: Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")]
    """A name for people; need not be unique."""
    task: TaskName = DEFAULT_TASK
    """The kind of job, which decides about columns, head, loss and metrics. Where it is left out, it is that of the
    columns that are named, or what the data set's `suggestion` says."""
    problem_type: ProblemType | None = None
    """What a label is: one class, several classes at once, or a number. Default: one class."""
    base_model: Annotated[str, Field(pattern=MODEL_NAME)]
    """A folder in the service's models folder, or a hub id where the operator allows the hub. The head of one that is a
    classifier already is taken over if it knows the same classes; its config.json names them (id2label)."""
    revision: Annotated[str, Field(pattern=REVISION)] | None = None
    """Revision of a hub model."""
    init_from: Annotated[str, Field(pattern=JOB_ID)] | StartingPoint | None = None
    """Id of a finished job whose adapter this one starts from; its head too, if its classes are the same. Or an object
    with `job` and `checkpoint`, the step of one of its checkpoints."""
    preset: Annotated[str, Field(pattern=PRESET_NAME, max_length=MAX_PRESET_NAME)] | None = None
    """Name of a preset, the project's own or that of a kind of job (`GET /presets`): it fills in the fields of `adamss`
    and `training` that are left out here."""
    dataset: DatasetSpec
    adamss: AdamssSpec = Field(default_factory=AdamssSpec)
    training: TrainingSpec = Field(default_factory=TrainingSpec)
    artifacts: list[ArtifactName] = Field(default=["adapter", "lora", "merged"], min_length=1, max_length=3)
    """What is written at the end: the adapter, an exactly equivalent LoRA, the merged model."""
    compare: list[ContenderName] = Field(default=[], max_length=MOST_CONTENDERS)
    """Contenders to train afterwards on the same rows, steps and seed, so that the result shows what the adapter is
    worth: "head" (the head alone), "lora:r=N" (a plain LoRA on the same targets, at 0.4 of `learning_rate`), or
    "lora:r=N@RATE" for a rate of your own. Nothing of them is kept but their numbers."""
    priority: Priority = 0
    """Jobs of a higher priority run first, whatever the project; above 0 needs a key with the role admin. Among equals
    the project that has used least for its weight is next, then the job that has waited longest."""
    preemptible: Annotated[bool, Field(strict=True)] = True
    """Whether a waiting job of a higher priority may take its devices: it then writes a checkpoint, waits, and resumes
    there, uncharged."""
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec)
    """How many devices the job takes, of which kind, and how much memory of each."""
    retries: Annotated[StrictInt, Field(ge=0, le=20)] = 3
    """How often a run that was killed or lost is run again from its last checkpoint."""
    time_limit_seconds: TimeLimit | None = None
    """Longest time of training in seconds, over all attempts; waiting, pauses, loading and publishing do not count.
    Then a checkpoint is written, the best model so far is published, and the job ends with the code `time_limit`; it
    can be resumed with a larger limit. An operator's smaller limit holds instead."""
    retention: RetentionSpec = Field(default_factory=RetentionSpec)
    """How long artifacts, checkpoints and log are kept after the end, in the place of the operator's defaults."""
    webhook: Annotated[str, Field(pattern=WEBHOOK, max_length=500)] | None = None
    """Address that is told when the job has ended; its host must be one that the operator allows."""

    @model_validator(mode="before")
    @classmethod
    def _base_model_from_config(cls, value: Any) -> Any:
        """Take the base model from a pasted adapter_config.json where the job names none."""
        if not isinstance(value, dict) or not isinstance(block := value.get("adamss"), dict):
            return value
        filled = dict(value)
        if filled.get("base_model") is None and block.get("base_model_name_or_path"):
            filled["base_model"] = block["base_model_name_or_path"]
            if filled.get("revision") is None and block.get("revision"):
                filled["revision"] = block["revision"]
        return filled

    @model_validator(mode="before")
    @classmethod
    def _task_of_columns(cls, value: Any) -> Any:
        """Take the task from a column that one task alone has, where the job names none."""
        if not isinstance(value, dict) or "task" in value or not isinstance(block := value.get("dataset"), dict):
            return value
        task = implied_task(block)
        return value if task is None else {**value, "task": task}

    @property
    def starting_point(self) -> StartingPoint | None:
        """Return the job, and the checkpoint of it, that `init_from` names."""
        return StartingPoint(job=self.init_from) if isinstance(self.init_from, str) else self.init_from

    @property
    def copied_because(self) -> str | None:
        """Return why each device has a copy of the base, whatever `resources.shard` asks for; None if it needs not."""
        if self.training.quantization is not None:
            return "training.quantization is set, and each device holds a copy of a quantised base"
        if self.training.compile:
            return "training.compile is set, and a compiled model holds its base whole"
        if self.compare:
            return "compare is set, and contenders are trained on a base of their own"
        return None

    @model_validator(mode="after")
    def _consistent(self) -> JobSpec:
        if self.resources.shard is True and (reason := self.copied_because) is not None:
            raise field_error("resources.shard", f'is true, but {reason}. Take "auto" or false, or leave that out')
        if len(set(self.artifacts)) != len(self.artifacts):
            raise field_error("artifacts", "names an artifact twice")
        check_comparison(self)
        check_task_fields(self)
        return self


name_owners(JobSpec)
