"""Each record is whole, and nothing outside of a task's two files names it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from adamss_core.spec import DatasetSpec, JobSpec, ModelFacts, TrainingSpec, record_of
from adamss_core.spec.survey import Survey
from adamss_core.spec.tasks import (
    all_presets,
    all_records,
    field_owners,
    find_metric,
    find_record,
    register,
    task_names,
    unregister,
)
from adamss_core.spec.tasks.base import TaskRecord
from adamss_core.spec.tasks.metrics import Metric
from tests.toy_task.record import NAME, RECORDS

ROOT = Path(__file__).resolve().parents[4]
# Bodies that the interactive docs offer, files that docs/formats.md shows, and values by the release that knew them.
EXAMPLES = {
    "service/jobs/examples.py",
    "service/datasets/endpoints.py",
    "service/datasets/catalogue.py",
    "adamss_core/spec/spec_versions.py",
}


def spec_of(record: TaskRecord, **fields: Any) -> JobSpec:
    dataset = {"train": "ds_aaaaaaaa", **fields.pop("dataset", {})}
    task = {"task": record.name, "problem_type": record.problem_type}
    return JobSpec.model_validate({"name": "x", "base_model": "m", "dataset": dataset, **task, **fields})


@pytest.fixture
def toy() -> Iterator[str]:
    register(RECORDS)
    yield NAME
    unregister(NAME)


def test_only_the_files_of_a_task_name_it() -> None:
    """Whoever must know something about a task asks its record."""
    names = re.compile("|".join(task_names()))
    homes = {name.replace("-", "_") for name in task_names()}
    naming = set()
    for folder in ("adamss_core", "service", "worker"):
        files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".js", ".html")]
        naming |= {path for path in files if names.search(path.read_text(encoding="utf-8"))}
    others = {path for path in naming if not (path.parent.name == "tasks" and path.stem.startswith(tuple(homes)))}
    assert {path.relative_to(ROOT).as_posix() for path in others} == EXAMPLES


@pytest.mark.parametrize("record", all_records(), ids=lambda record: f"{record.name} {record.problem_type or ''}")
def test_a_record_is_whole(record: TaskRecord) -> None:
    assert (ROOT / f"{record.training_half.partition(':')[0].replace('.', '/')}.py").is_file()
    beside = {field for fields in record.optional_fields.values() for field in fields}
    assert set(record.field_kinds) == beside.union(field for fields in record.column_sets for field in fields)
    assert set(record.dataset_fields) <= set(DatasetSpec.model_fields)
    assert set(record.training_fields) <= set(TrainingSpec.model_fields)
    assert record.answers <= set(record.field_kinds)
    assert record.target is None or record.target in record.answers
    assert all(record.input_sets)
    assert record.answer_field in (record.answer_columns[0].key, None)
    assert len({part.csv_name for part in record.answer_columns}) == len(record.answer_columns)
    assert {preset.task for preset in record.presets} == {record.name}
    assert {preset.problem_type for preset in record.presets} <= {record.problem_type, None}
    spec = spec_of(record)
    assert find_record(spec.task, spec.problem_type) is record_of(spec) is record
    assert set(record.reader(spec).columns) in [set(fields) for fields in record.column_sets]


def test_a_task_without_problem_type_is_its_first_variant() -> None:
    job = {"name": "x", "base_model": "m", "dataset": {"train": "ds_aaaaaaaa"}}
    assert record_of(JobSpec.model_validate(job)) is all_records()[0]
    with pytest.raises(KeyError):
        find_record(task_names()[0], "ranking")


def test_a_name_means_one_metric() -> None:
    metrics = {metric for record in all_records() for metric in record.metrics}
    assert {metric.name for metric in metrics if not metric.higher_is_better} == {"loss", "perplexity"}
    assert len({metric.name for metric in metrics}) == len(metrics)


@pytest.mark.parametrize("own", [Metric("f1", "Errors", "min"), Metric("f1", "Another F1")])
def test_a_task_cannot_redefine_the_metric_of_another(own: Metric) -> None:
    """Before: the last task that was registered gave title and direction to the metrics of all."""
    record = type("Redefining", (type(RECORDS[0]),), {"metrics": (own,)})()
    with pytest.raises(ValueError, match=r"'f1' is .*Entity F1"):
        register([record])
    assert NAME not in task_names()
    entities = find_metric("token-classification", None, "f1")
    assert entities is not None
    assert entities.higher_is_better


def test_a_metric_is_looked_up_in_the_record_of_the_job() -> None:
    regression = find_metric("text-classification", "regression", "pearson")
    assert regression is not None
    assert regression == find_record("text-classification", "regression").metric("pearson")
    for unknown in (("text-classification", None, "pearson"), ("gone", None, "loss"), (None, None, None)):
        assert find_metric(*unknown) is None
    with pytest.raises(KeyError):
        find_record("text-classification").metric("pearson")


def test_descriptions_name_the_tasks_of_a_field() -> None:
    blocks: dict[str, type[BaseModel]] = {"dataset": DatasetSpec, "training": TrainingSpec}
    for path, tasks in field_owners().items():
        block, _, name = path.partition(".")
        schema = blocks[block].model_json_schema()["properties"][name]
        assert f"({', '.join(tasks)})" in schema["description"]
        assert blocks[block].model_fields[name].description == schema["description"]


def test_a_registered_task_is_known_at_once(toy: str) -> None:
    (record,) = RECORDS
    spec = spec_of(record)
    assert record_of(spec) is record
    assert toy in JobSpec.model_json_schema()["properties"]["task"]["enum"]
    assert toy in [preset.task for preset in all_presets()]
    assert spec_of(record, training={"metric_for_best": "mean_error"}).training.metric_for_best == "mean_error"
    with pytest.raises(ValidationError, match="must be one of accuracy"):
        spec_of(all_records()[0], training={"metric_for_best": "mean_error"})
    with pytest.raises(ValidationError, match="belongs to text-classification and image-classification, but the task"):
        spec_of(record, problem_type="regression")


def test_an_unregistered_task_is_unknown() -> None:
    with pytest.raises(ValidationError, match="Input should be 'text-classification'"):
        spec_of(RECORDS[0])


def test_images_count_the_patches_of_the_model() -> None:
    """Before: an image counted as training.max_length tokens, which has no effect on images."""
    record = find_record("image-classification")
    spec = spec_of(record, training={"max_length": 1_024})
    facts = ModelFacts(parameters=1, linear_modules=[], model_type="vit", image_tokens=50)
    assert record.tokens_per_example(spec, facts) == 50
    assert record.tokens_per_example(spec, facts.model_copy(update={"image_tokens": None})) == 197


@pytest.mark.parametrize(
    ("task", "dataset", "fields"),
    [
        ("text-classification", {}, ("text",)),
        ("text-classification", {"text_pair": "b"}, ("text", "text_pair")),
        ("token-classification", {}, ("tokens",)),
        ("image-classification", {}, ("image",)),
        ("text-generation", {}, ("text",)),
        ("text-generation", {"prompt": "p", "completion": "c"}, ("prompt",)),
        ("text-generation", {"messages": "m"}, ("messages",)),
    ],
)
def test_an_input_has_the_fields_of_a_row_without_its_answer(
    task: str, dataset: dict[str, str], fields: tuple[str, ...]
) -> None:
    record = find_record(task)
    assert record.input_fields(spec_of(record, dataset=dataset)) == fields


def test_rows_split_into_input_and_answer() -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for task, cells, expected in (
        ("text-classification", {"text": "a", "label": "x"}, ({"text": "a"}, "x")),
        ("token-classification", {"tokens": ["a"], "tags": ["O"]}, ({"tokens": ["a"]}, ["O"])),
        ("text-generation", {"prompt": "a", "completion": "b"}, ({"prompt": "a"}, "b")),
        ("text-generation", {"text": "a"}, ({"text": "a"}, None)),
        ("text-generation", {"messages": chat}, ({"messages": chat[:1]}, "b")),
    ):
        assert find_record(task).split_answer(cells) == expected


def test_rules_of_a_task_come_in_their_order() -> None:
    record = all_records()[0]
    spec = spec_of(record, problem_type=None)
    many = Survey(90, labels={str(n): 1 for n in range(60)})  # type: ignore[arg-type]
    problems = [rule(record, spec, many) for rule in record.survey_rules]
    assert [problem.code if problem else None for problem in problems] == [
        "problem_type_missing",
        None,
        None,
        None,
        "no_classes",
        None,
    ]
