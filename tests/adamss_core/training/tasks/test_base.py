from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest
import transformers

from adamss_core.spec import DatasetSpec, JobSpec
from adamss_core.spec.tasks import all_records
from adamss_core.spec.tasks.base import TaskRecord
from adamss_core.training import tasks


@pytest.mark.parametrize("record", all_records(), ids=lambda record: f"{record.name} {record.problem_type or ''}")
def test_a_record_has_its_training_half(record: TaskRecord) -> None:
    dataset = {"train": "ds_aaaaaaaa"}
    fields = {"name": "x", "base_model": "m", "task": record.name, "problem_type": record.problem_type}
    task = tasks.task_of(JobSpec.model_validate(fields | {"dataset": dataset}))
    assert type(task).__name__ == type(record).__name__
    assert task.record is record
    assert task.auto_model is getattr(transformers, record.auto_model)


def test_modules_of_other_tasks_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    imported: list[str] = []

    def importing(name: str) -> ModuleType:
        imported.append(name)
        return import_module(name)

    monkeypatch.setattr(tasks, "import_module", importing)
    tasks.task_of(JobSpec(name="x", base_model="m", dataset=DatasetSpec(train="ds_aaaaaaaa")))
    assert imported == ["adamss_core.training.tasks.text_classification"]
