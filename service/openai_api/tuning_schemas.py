"""OpenAI's shapes of fine-tuning jobs, their events and checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from adamss_core.spec.adamss import AdamssSpec
from adamss_core.spec.job import TrainingSpec
from service.http.openapi import Out

Auto = Literal["auto"]
KEY_RULE = 'it has 1 to 64 characters without ", \\ and control characters'
MetadataKey = Annotated[str, Field(min_length=1, max_length=64, pattern=r'^[^"\\\x00-\x1f\x7f]*$')]


class OpenAIIn(BaseModel):
    """Base of requests."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Hyperparameters(OpenAIIn):
    """Numbers of a training, or "auto" for those of our preset."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=1_000)] = "auto"
    """Passes over the examples."""
    batch_size: Auto | Annotated[int, Field(ge=1, le=4_096)] = "auto"
    """Examples of a step."""
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=1_000)] = "auto"
    """Factor of the preset's learning rate."""


class SupervisedMethod(OpenAIIn):
    """Settings of supervised fine-tuning."""

    hyperparameters: Hyperparameters = Field(default_factory=Hyperparameters)
    """Its numbers."""


class TuningMethod(OpenAIIn):
    """How is trained; only supervised fine-tuning is."""

    type: Literal["supervised", "dpo", "reinforcement"]
    """Must be "supervised"."""
    supervised: SupervisedMethod = Field(default_factory=SupervisedMethod)
    """Its settings."""
    dpo: dict[str, Any] | None = None
    """Refused."""
    reinforcement: dict[str, Any] | None = None
    """Refused."""


class WandbIn(OpenAIIn):
    """A run in Weights & Biases; its id is the job's."""

    project: Annotated[str, Field(min_length=1, max_length=128)]
    """Project of the run."""
    name: Annotated[str, Field(max_length=128)] | None = None
    """Name of the run. Default: the job's."""
    entity: Annotated[str, Field(max_length=128)] | None = None
    """Team or user. Default: that of the workers' key."""
    tags: Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=20)] | None = None
    """Tags of the run."""


class IntegrationIn(OpenAIIn):
    """A tracker of experiments."""

    type: Literal["wandb"]
    """Must be "wandb"."""
    wandb: WandbIn
    """The run."""


class TuningJobIn(OpenAIIn):
    """A fine-tuning job, as `client.fine_tuning.jobs.create` sends it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "tiny", "training_file": "ds_4k7f2m9xq3", "suffix": "support"}]}
    )

    model: Annotated[str, Field(min_length=1, max_length=400)]
    """A base model, a name of OpenAI that the operator maps to one, or a trained model (`ft:…`) to train on."""
    training_file: Annotated[str, Field(max_length=80)]
    """Id of a file with the purpose `fine-tune`."""
    validation_file: Annotated[str, Field(max_length=80)] | None = None
    """Id of a file to evaluate on; without it a tenth of the examples is held out."""
    method: TuningMethod | None = None
    """The method with its hyperparameters."""
    hyperparameters: Hyperparameters | None = None
    """As in `method.supervised`, for older clients."""
    suffix: Annotated[str, Field(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None
    """A part of the model's name."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    """Seed of the run. Default: 0."""
    metadata: Annotated[dict[MetadataKey, Annotated[str, Field(max_length=512)]], Field(max_length=16)] | None = None
    """Values of the sender, by which lists can be filtered."""
    integrations: Annotated[list[IntegrationIn], Field(max_length=1)] | None = None
    """Trackers that get the numbers while the job runs; only where the operator has set ADAMSS_WANDB."""
    adamss: AdamssSpec | None = None
    """The adapter, as in a job of `POST /jobs`; sent as `extra_body`."""
    training: TrainingSpec | None = None
    """Further settings of the training, as in a job of `POST /jobs`; sent as `extra_body`."""


class TuningErrorOut(Out):
    """Why a job failed."""

    code: str
    """The exact reason, for programs."""
    message: str
    """The reason in words."""
    param: str | None = None
    """Always null."""


class HyperparametersOut(Out):
    """Numbers of a training."""

    n_epochs: int
    """Passes over the examples, rounded up."""
    batch_size: int
    """Examples of a step."""
    learning_rate_multiplier: float
    """Learning rate over the preset's."""


class SupervisedOut(Out):
    """Settings of supervised fine-tuning."""

    hyperparameters: HyperparametersOut
    """Its numbers."""


class MethodOut(Out):
    """How is trained."""

    type: Literal["supervised"] = "supervised"
    """Always "supervised"."""
    supervised: SupervisedOut
    """Its settings."""


class TuningJobOut(Out):
    """A fine-tuning job."""

    id: str
    """Its id, also for `GET /jobs/{id}`."""
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    """Always "fine_tuning.job"."""
    created_at: int
    """Unix time of its creation."""
    finished_at: int | None
    """Unix time of its end."""
    estimated_finish: int | None
    """Unix time at which a running job is expected to end."""
    model: str
    """The model that is trained."""
    fine_tuned_model: str | None
    """Name of the trained model, once it is there."""
    organization_id: str
    """The project."""
    status: Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]
    """Its state. A paused job is "queued", and its last event says so; one that is being cancelled is "cancelled"."""
    training_file: str
    """Id of the file that is trained on; of several data sets, the first."""
    validation_file: str | None
    """Id of the file that is evaluated on."""
    result_files: list[str]
    """Id of the file with the losses by step, once the job has succeeded."""
    hyperparameters: HyperparametersOut
    """As in `method`."""
    method: MethodOut
    """The method, with its numbers."""
    seed: int
    """Seed of the run."""
    trained_tokens: int | None
    """Tokens of the examples, over all epochs."""
    error: TuningErrorOut | None
    """Why it failed."""
    user_provided_suffix: str | None
    """The suffix that was sent."""
    metadata: dict[str, str] | None
    """The values that were sent."""
    integrations: list[IntegrationIn]
    """Trackers that get its numbers."""


class TuningEventOut(Out):
    """An event of a job, or a logged step of its training."""

    id: str
    """Its id."""
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    """Always "fine_tuning.job.event"."""
    created_at: int
    """Unix time."""
    level: Literal["info", "warn", "error"]
    """Its weight."""
    message: str
    """The event in words."""
    type: Literal["message", "metrics"]
    """Whether it is a logged step."""
    data: dict[str, Any]
    """Its numbers and names."""


class CheckpointMetricsOut(Out):
    """Numbers at a checkpoint; the accuracy of training is not measured."""

    step: int
    """Optimizer step."""
    train_loss: float | None
    """Loss of the step, where it was logged."""
    valid_loss: float | None
    """Loss on the evaluation's examples, where the step has an evaluation."""
    full_valid_loss: float | None
    """The same: all examples are evaluated."""
    valid_mean_token_accuracy: float | None
    """Share of the evaluation's tokens that the model finds likeliest, where the step has an evaluation."""
    full_valid_mean_token_accuracy: float | None
    """The same."""


class TuningCheckpointOut(Out):
    """A checkpoint of a job, whose model can be used."""

    id: str
    """Its id."""
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    """Always "fine_tuning.job.checkpoint"."""
    created_at: int
    """Unix time."""
    fine_tuned_model_checkpoint: str
    """Name of its model."""
    fine_tuning_job_id: str
    """Its job."""
    step_number: int
    """Optimizer step."""
    metrics: CheckpointMetricsOut
    """Its numbers."""
