"""Which release first understood what of the job spec."""

from __future__ import annotations

from typing import Any

import pytest

from adamss_core.spec import JobSpec, needed_version, with_unused, without_unused
from adamss_core.spec.spec_versions import VERSIONS
from adamss_core.spec.tasks import all_records

SPEC: dict[str, Any] = {"name": "reviews", "base_model": "tiny", "dataset": {"train": "ds_aaaaaaaa", "text": "text"}}


def elements(schema: dict[str, Any], node: dict[str, Any], path: str) -> set[str]:
    """Every field and choice of the spec, as its JSON schema lists them."""
    node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    found = {f"{path}={value}" for value in [*node.get("enum", []), *([node["const"]] if "const" in node else [])]}
    for branch in node.get("anyOf", []):
        found |= elements(schema, branch, path)
    for name, child in node.get("properties", {}).items():
        inner = f"{path}.{name}" if path else name
        found |= {inner} | elements(schema, child, inner)
    for sign, child in (("[]", node.get("items")), ("{}", node.get("additionalProperties"))):
        if isinstance(child, dict):
            found |= {path + sign} | elements(schema, child, path + sign)
    return found


def spec(**changes: Any) -> JobSpec:
    merged = {
        name: {**SPEC.get(name, {}), **value} if isinstance(value, dict) else value for name, value in changes.items()
    }
    return JobSpec.model_validate(SPEC | merged)


def test_every_field_and_choice_of_the_spec_has_a_version() -> None:
    schema = JobSpec.model_json_schema()
    listed = [element for part in VERSIONS.values() for element in part.split()]
    assert len(listed) == len(set(listed)), "an element stands in two versions"
    known = elements(schema, schema, "") | {
        f"{record.name}/{kind}" for record in all_records() for kind in (None, record.problem_type)
    }
    missing = known - set(listed)
    assert not missing, "name them in VERSIONS of adamss_core/spec/spec_versions.py, under the newest version"
    assert not set(listed) - known, "these exist no more; an older job may hold them still"
    assert list(VERSIONS) == list(range(1, len(VERSIONS) + 1))


@pytest.mark.parametrize(
    ("changes", "version"),
    [
        ({}, 1),
        ({"adamss": {"basis": "weights"}, "dataset": {"test": None}}, 1),
        ({"adamss": {"r": 8, "use_asa": True, "mask_interval": "auto", "asa_target_subspaces": 4}}, 1),
        ({"task": "text-classification", "training": {"metric_for_best": "macro_f1"}}, 1),
        ({"task": "image-classification", "dataset": {"text": "text"}}, 1),
        ({"task": "image-classification", "problem_type": "regression"}, 2),
        ({"problem_type": "regression"}, 1),
        ({"adamss": {"basis": "inputs"}}, 2),
        ({"training": {"label_smoothing": 0.1}}, 2),
        ({"dataset": {"test": "ds_bbbbbbbb"}}, 2),
        ({"init_from": "job_aaaaaaaa"}, 1),
        ({"init_from": {"job": "job_aaaaaaaa", "checkpoint": 4}}, 2),
        ({"dataset": {"train": ["ds_aaaaaaaa", {"id": "ds_bbbbbbbb", "weight": 2}]}}, 2),
        ({"training": {"class_weights": {"good": 2.0}}}, 2),
    ],
)
def test_a_job_needs_the_least_version_that_knows_what_it_uses(changes: dict[str, Any], version: int) -> None:
    assert needed_version(spec(**changes)) == version


def test_fields_that_are_not_used_are_left_out_and_come_back() -> None:
    whole = spec(training={"epochs": 7}).model_dump(mode="json")
    reduced = without_unused(whole, 1)
    newer = {element for element in VERSIONS[2].split() if not set("[]{}=/") & set(element)}
    schema = JobSpec.model_json_schema()
    assert newer <= elements(schema, schema, "")
    for path in newer:
        block, _, name = path.rpartition(".")
        assert (block and whole[block] is None) or name in (whole[block] if block else whole)
        assert name not in ((reduced.get(block) or {}) if block else reduced)
    assert reduced["training"]["epochs"] == 7
    assert with_unused(reduced) == whole
    assert without_unused(whole, 2) == whole
    assert JobSpec.model_validate(reduced) == spec(training={"epochs": 7})
