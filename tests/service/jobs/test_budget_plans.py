"""`adamss.budget` in a dry run: what is chosen is said, kept to, and refused beside what it decides."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.support import Service, error_of

AUTO = {"init_warmup": "auto", "final_warmup": "auto", "mask_interval": "auto"}


def planned(service: Service, **adamss: Any) -> Any:
    return service.client.post("/jobs?dry_run=true", json=service.spec(adamss=adamss))


def test_an_adapter_is_chosen_within_the_budget_and_said(service: Service) -> None:
    plan = planned(service, budget="lora:r=1").json()
    chosen = plan["spec"]["adamss"]
    assert (chosen["num_subspaces"], chosen["basis"], chosen["budget"]) == (1, "inputs", "lora:r=1")
    assert f"{plan['estimate']['adapter_parameters']:,}" in plan["budget"]
    assert plan["estimate"]["calibration_rows"] > 0
    assert planned(service).json()["budget"] is None


def test_a_submitted_job_keeps_its_budget(service: Service) -> None:
    job = service.submit(adamss={"budget": "lora:r=1"})
    assert job["spec"]["adamss"]["budget"] == "lora:r=1"
    assert job["resolved"]["spec"]["adamss"]["num_subspaces"] == 1
    assert job["resolved"]["budget"].startswith("adamss.budget lora:r=1 allows")


@pytest.mark.parametrize("beside", [{"r": 100}, {"num_subspaces": 10}, {"subspace_rank": 2}, {"row_share": 0.5}])
def test_a_field_that_the_budget_decides_is_refused_beside_it(beside: dict[str, Any], service: Service) -> None:
    answer = planned(service, budget=100_000, **beside)
    error = error_of(answer.json())
    (name,) = beside
    assert (answer.status_code, error["code"], error["param"]) == (422, "decided_by_budget", f"adamss.{name}")


def test_a_budget_that_is_too_small_says_the_least(service: Service) -> None:
    error = error_of(planned(service, budget=10).json())
    assert (error["code"], error["param"]) == ("budget_too_small", "adamss.budget")
    assert "Allow that many" in error["message"]


def test_elements_before_and_after_pruning_are_planned(service: Service) -> None:
    plan = planned(service, budget="lora:r=1", use_asa=True, asa_pruned="removed", **AUTO).json()
    elements, adamss = plan["estimate"]["elements"], plan["spec"]["adamss"]
    assert elements["peak"] == plan["estimate"]["adapter_parameters"]
    assert elements["end"] == elements["published"] < elements["peak"]
    assert f"at most {elements['published']:,} are published" in plan["budget"]
    assert 2 * adamss["asa_target_subspaces"] == plan["estimate"]["subspaces"]


def test_the_first_layers_are_left_out_of_the_plan_where_the_budget_is_small(service: Service) -> None:
    whole = planned(service, target_modules=None).json()["estimate"]["modules"]
    plan = planned(service, budget=80, target_modules=None).json()
    assert plan["spec"]["adamss"]["layers_to_transform"] == [1]
    assert 2 * plan["estimate"]["modules"] == whole
    assert plan["estimate"]["elements"]["published"] <= 80
    assert "the last 1 of 2 layers" in plan["budget"]
