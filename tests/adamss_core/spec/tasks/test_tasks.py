from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from adamss_core.spec import JobSpec, make_plan, metrics_of, reader_of
from adamss_core.spec.cells import Unusable, image_path
from adamss_core.spec.tasks import all_records, field_owners, metric_names, task_names
from adamss_core.training.progress import is_better

TASKS = task_names()


def job(**fields: Any) -> JobSpec:
    dataset = {"train": "ds_" + "a" * 12, **fields.pop("dataset", {})}
    return JobSpec.model_validate({"name": "x", "base_model": "m", "dataset": dataset, **fields})


@pytest.mark.parametrize("task", TASKS)
def test_a_spec_with_all_its_fields_is_the_same_spec(task: str) -> None:
    """Specs are kept and handed on with every default written out; a default is no statement about another task."""
    spec = job(task=task)
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("task", TASKS)
def test_auto_takes_the_first_metric_of_the_task(task: str) -> None:
    spec = job(task=task)
    names = metrics_of(spec)
    assert set(names) <= set(metric_names())
    assert make_plan(spec, 100, 10).spec.training.metric_for_best == names[0]
    for name in names:
        assert job(task=task, training={"metric_for_best": name}).training.metric_for_best == name
    for name in set(metric_names()) - set(names):
        with pytest.raises(ValidationError, match="must be one of"):
            job(task=task, training={"metric_for_best": name})


def test_losses_are_better_small_and_scores_large() -> None:
    for metric in (metric for record in all_records() for metric in record.metrics):
        smaller = metric.name in ("loss", "perplexity")
        assert metric.direction == ("min" if smaller else "max")
        assert is_better({f"eval_{metric.name}": 1.0}, {f"eval_{metric.name}": 2.0}, metric) is smaller


@pytest.mark.parametrize(("path", "owners"), field_owners().items())
def test_a_field_goes_with_its_tasks_only(path: str, owners: tuple[str, ...]) -> None:
    block, _, name = path.partition(".")
    values = {"packing": False, "sample_prompts": 1, "label_separator": ";", "label_smoothing": 0.1}
    value: Any = (values | {"class_weights": "balanced", "background": "black"}).get(name, "other")
    pair = {"completion": "c", "prompt": "p"}
    extra = {**dict.fromkeys(["prompt", "completion", "system", "history"], pair), "tools": {"messages": "m"}}.get(
        name, {}
    )
    for task in TASKS:
        fields: dict[str, Any] = {"task": task, block: {**extra, name: value}}
        if name == "label_separator" and task in owners:
            fields["problem_type"] = "multi_label_classification"
        if task in owners:
            assert getattr(getattr(job(**fields), block), name) == value
        else:
            with pytest.raises(ValidationError, match="leave it out"):
                job(**fields)


def test_rows_are_read_by_the_columns_that_the_spec_names() -> None:
    spec = job(dataset={"text": "body", "label": "stars", "text_pair": "title"})
    read = reader_of(spec)
    assert read.columns == {"text": "body", "label": "stars", "text_pair": "title"}
    row = {"body": " a film ", "stars": 4.0, "title": 7, "other": 1}
    assert read(row) == {"text": "a film", "text_pair": "7", "label": "4"}
    with pytest.raises(Unusable, match="without a text"):
        read(row | {"title": None})
    with pytest.raises(KeyError):
        read({"body": "a film"})


def test_words_and_tags_belong_together() -> None:
    read = reader_of(job(task="token-classification"))
    assert read({"tokens": "Ada  met", "tags": ["B-PER", "O"]}) == {"tokens": ["Ada", "met"], "tags": ["B-PER", "O"]}
    for tokens, tags, why in (
        (["Ada"], [], "another number"),
        ([""], ["O"], "without words"),
        (["a"], [""], "empty tag"),
    ):
        with pytest.raises(Unusable, match=why):
            read({"tokens": tokens, "tags": tags})


def test_names_of_images_stay_in_their_folder(tmp_path: Any) -> None:
    assert image_path(tmp_path, "cat/1.png") == tmp_path / "cat" / "1.png"
    for name in ("../1.png", "/etc/passwd", "cat/../../1.png", "a\0b"):
        assert image_path(tmp_path, name) is None
