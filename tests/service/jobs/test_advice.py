"""Settings that work but hardly do what they are for are warned of, with a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from adamss_core.spec import JobSpec, Lengths, LinearModule, ModelFacts
from adamss_core.spec.lengths import LengthSource
from service.jobs.advice import rows_beyond_the_limit, without_effect
from tests.service.support import Service, beside_few_rows, rows

ADAMSS = {"target_modules": ["query", "value"]}


def warnings(service: Service, **changes: Any) -> list[str]:
    changes["training"] = {"max_length": 64, **changes.get("training", {})}  # the tiny model takes no more
    found: list[str] = service.client.post("/jobs?dry_run=true", json=service.spec(**changes)).json()["warnings"]
    return found


@pytest.mark.parametrize(
    ("changes", "says", "remedy"),
    [
        ({"training": {"learning_rate": 0.2}}, "training.learning_rate is 0.2, 20 times", "Use 0.01 to 0.03"),
        ({"training": {"head_learning_rate": 0.5}}, "training.head_learning_rate is 0.5", "Use 0.001"),
        ({"adamss": {**ADAMSS, "num_subspaces": 40}}, "with 32. Each has one subspace", "128 in all. Use at most 32"),
        ({"training": {"eval_steps": 500}}, "eval_steps is 500, but the job has 6 steps", 'Use at most 3, or "epoch"'),
        ({"dataset": {"text_pair": "text"}}, "dataset.text and dataset.text_pair both read column 'text'", "leave one"),
    ],
)
def test_warnings_of_settings(service: Service, changes: dict[str, Any], says: str, remedy: str) -> None:
    if "dataset" in changes:
        changes = {"dataset": {"train": service.upload(rows())["id"], **changes["dataset"]}}
    (warning,) = beside_few_rows(warnings(service, **changes))
    assert says in warning
    assert remedy in warning


def test_usual_settings_have_no_warning(service: Service) -> None:
    assert beside_few_rows(warnings(service, training={"learning_rate": 0.03, "eval_steps": 6})) == []


def test_a_class_with_one_row(service: Service) -> None:
    found = warnings(service, dataset={"train": service.upload(rows(40) + "an odd film,rare\n")["id"]})
    assert any("1 class has a single row ('rare')" in warning for warning in found)


@pytest.mark.parametrize("bias", [True, False])
def test_a_frozen_bias_where_there_is_none(bias: bool) -> None:
    fields = {"name": "x", "base_model": "x", "dataset": {"train": "ds_" + "a" * 8}, "adamss": {"bias": "frozen"}}
    module = LinearModule(name="query", kind="Linear", in_features=200, out_features=200, bias=bias)
    facts = ModelFacts(model_type="bert", parameters=1, linear_modules=[module])
    found = without_effect(JobSpec.model_validate(fields), facts, [module])
    assert found == ([] if bias else ["adamss.bias has no effect: none of the adapted modules has a bias."])


POLICIES = [("truncate", "are cut"), ("drop", "left out"), ("raise", "refused")]


@pytest.mark.parametrize(("policy", "says"), POLICIES)
def test_every_row_beyond_the_limit(policy: str, says: str) -> None:
    (warning,) = beyond([(40, 5), (17, 4)], over_length=policy)
    assert warning.startswith("All 9 sampled rows are longer than 16 tokens")
    assert says in warning
    assert "the shortest has 17" in warning
    assert beyond([(40, 5)], source="characters") == []


def test_many_rows_beyond_the_limit() -> None:
    (warning,) = beyond([(400, 35), (12, 5)], limit=64)
    assert warning.startswith("35 of 40 sampled rows are longer than 16 tokens and are cut, or left out")
    assert warning.endswith("Raise training.max_length, of which the model takes 64 at most, or shorten the texts.")
    (warning,) = beyond([(400, 35), (12, 5)], limit=16)
    assert warning.endswith("The model takes 16 tokens at most: shorten the texts, or use a model that takes more.")
    assert beyond([(40, 5), (16, 99)]) == []


def test_prompts_that_fill_the_limit() -> None:
    (warning,) = beyond([(400, 35), (12, 5)], limit=64, task="text-generation")
    assert "left out where nothing to learn is left" in warning


def beyond(
    counts: list[tuple[int, int]],
    *,
    limit: int | None = None,
    source: LengthSource = "measured",
    task: str = "text-classification",
    **training: Any,
) -> list[str]:
    fields = {"name": "x", "base_model": "x", "task": task, "dataset": {"train": "ds_" + "a" * 8}}
    spec = JobSpec.model_validate(fields | {"training": {"max_length": 16, **training}})
    facts = ModelFacts(model_type="bert", parameters=1, linear_modules=[])
    return rows_beyond_the_limit(spec, facts, Lengths(source=source, counts=counts, limit=limit))


@pytest.mark.parametrize(("held_out", "eval_rows"), [(4, None), (1, 1), (19, 19), (20, None), (20, 20)])
def test_few_rows_to_evaluate(held_out: int, eval_rows: int | None, service: Service) -> None:
    train = service.upload(rows(40 if held_out == 4 else 200))["id"]
    block = {"train": train} | ({} if eval_rows is None else {"eval": service.upload(rows(eval_rows))["id"]})
    found = [warning for warning in warnings(service, dataset=block) if "lucky" in warning]
    counted = "1 row is" if held_out == 1 else f"{held_out} rows are"
    remedy = (
        "Raise dataset.eval_fraction, add" if eval_rows is None else "Name a data set with more rows as dataset.eval."
    )
    assert len(found) == (held_out < 20)
    for warning in found:
        assert warning.startswith(f"Only {counted} evaluated")
        assert remedy in warning
