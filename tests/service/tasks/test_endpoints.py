from __future__ import annotations

from adamss_core.spec import all_presets
from adamss_core.spec.tasks import all_records
from tests.service.support import Service


def test_presets_are_listed(service: Service) -> None:
    found = service.client.get("/presets").json()["data"]
    assert [preset["name"] for preset in found] == [preset.name for preset in all_presets()]
    assert all(preset["reason"] and preset["training"] for preset in found)


def test_tasks_are_listed_with_all_that_a_page_needs(service: Service) -> None:
    listed = service.client.get("/tasks").json()["data"]
    assert [(task["name"], task["problem_type"]) for task in listed] == [
        (record.name, record.problem_type) for record in all_records()
    ]
    first = listed[0]
    assert first["metrics"][0] == {"name": "accuracy", "title": "Accuracy", "direction": "max", "is_share": True}
    assert [[field["name"] for field in fields] for fields in first["inputs"]] == [["text", "text_pair"], ["text"]]
    assert first["answer"][0] == {"name": "label", "title": "Label", "decimals": None, "separator": ", "}
    writes = listed[-1]
    assert [fields[0]["kind"] for fields in writes["inputs"]] == ["chat", "text", "text"]
    assert {one["name"]: one["kind"] for one in writes["optional_inputs"]} == {
        "system": "text", "tools": "tools", "history": "chat",
    }  # fmt: skip
    assert set(writes["training_fields"]) == {"packing", "sample_prompts"}
    assert {task["preview"] for task in listed} == {"tokens", "image"}
