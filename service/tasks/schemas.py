"""Define the shapes of tasks as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field

from adamss_core.spec import TaskRecord
from service.http.openapi import Out


class TaskMetricOut(Out):
    """A number of each evaluation."""

    name: str
    """Its name, as in `training.metric_for_best`; results have it as `eval_<name>`."""
    title: str
    """Its name for people."""
    direction: Literal["max", "min"]
    """"max" where a larger value is better."""
    is_share: bool
    """Whether it is a share of one, which people read as a percentage."""


class TaskInputOut(Out):
    """A field of an input to predict."""

    name: str
    """Its name, in the inputs of `POST /jobs/{id}/predict` and in the job's `dataset` block."""
    kind: str
    """text, words, image, or chat."""
    title: str
    """Its name for people."""


class TaskAnswerOut(Out):
    """A part of an answer."""

    name: str
    """Its key in the answers of `POST /jobs/{id}/predict`."""
    title: str
    """Its name for people."""
    decimals: int | None
    """Decimals of a number, to show it; null for five significant digits."""
    separator: str
    """What to show between the entries of a list."""


class TaskOut(Out):
    """A task, or the variant of it that a `problem_type` names."""

    name: str
    """The job's `task`."""
    problem_type: str | None
    """The job's `problem_type`; null where the task has no variants. The first variant is the default."""
    title: str
    """Its name for people."""
    dataset_fields: list[str]
    """Fields of the job's `dataset` block that only this task and a few others have."""
    training_fields: list[str]
    """Fields of the job's `training` block that only this task and a few others have."""
    metrics: list[TaskMetricOut]
    """Metrics of an evaluation; the first one chooses the best checkpoint by default."""
    inputs: list[list[TaskInputOut]]
    """Alternative inputs to predict. A job takes the first whose fields are all set in its `dataset` block."""
    optional_inputs: list[TaskInputOut] = Field(default=[])
    """Fields that an input may have beside those, where the job's `dataset` block sets them."""
    answer: list[TaskAnswerOut]
    """Parts of an answer that a table shows, the main one first."""
    predict_options: dict[str, Any]
    """Options of a prediction, with their defaults."""
    trains_head: bool
    """Whether a job trains a head: a base model answers `with_base` only where its own head has the job's classes."""
    preview: Literal["tokens", "image"]
    """How `POST /datasets/{id}/preview` shows an example."""
    default_base_model: str
    """The base model that `adamss init` writes."""

    @classmethod
    def of(cls, record: TaskRecord) -> Self:
        def shown(names: Iterable[str]) -> list[TaskInputOut]:
            return [TaskInputOut(name=one, kind=record.field_kinds[one], title=record.title_of(one)) for one in names]

        return cls(
            name=record.name,
            problem_type=record.problem_type,
            title=record.title,
            dataset_fields=list(record.dataset_fields),
            training_fields=list(record.training_fields),
            metrics=[
                TaskMetricOut(name=one.name, title=one.title, direction=one.direction, is_share=one.is_share)
                for one in record.metrics
            ],
            inputs=[shown(names) for names in record.input_sets],
            optional_inputs=shown(dict.fromkeys(name for names in record.optional_fields.values() for name in names)),
            answer=[
                TaskAnswerOut(name=part.key, title=part.title, decimals=part.decimals, separator=part.separator)
                for part in record.answer_columns
            ],
            predict_options=dict(record.predict_options),
            trains_head=record.trains_head,
            preview=record.preview,
            default_base_model=record.default_base_model,
        )
