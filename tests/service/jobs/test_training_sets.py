"""Jobs on several data sets, on at most so many rows, and with whole groups held out."""

from __future__ import annotations

from typing import Any

from service.shared.database.tables import HardestExample
from tests.service.support import Service, rows


def table(*lines: str) -> str:
    return "text,label,who\n" + "".join(f"{line}\n" for line in lines)


def plan_of(service: Service, **dataset: Any) -> dict[str, Any]:
    response = service.client.post("/jobs?dry_run=true", json=service.spec(dataset=dataset))
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_a_plan_counts_the_rows_of_each_data_set(service: Service) -> None:
    first, second = service.upload(rows(40))["id"], service.upload(rows(20).replace("label0", "label9"))["id"]
    plan = plan_of(service, train=[first, {"id": second, "weight": 2}])
    assert plan["training_sets"] == [
        {"dataset": first, "weight": 1.0, "usable": 40, "trained": 36},
        {"dataset": second, "weight": 2.0, "usable": 20, "trained": 36},
    ]
    assert (plan["estimate"]["train_rows"], plan["estimate"]["eval_rows"]) == (72, 6)
    assert any(
        f"of 20 rows of {second} repeat the 'text' of a row of {first}" in warning for warning in plan["warnings"]
    )  # texts that both have
    few = plan_of(service, train=[first, second], max_rows=30)
    assert (few["estimate"]["train_rows"], few["estimate"]["eval_rows"]) == (27, 3)
    assert plan_of(service, train=first, max_rows=10)["training_sets"] == []


def test_faults_name_the_data_set(service: Service) -> None:
    first, other = service.upload(rows(40))["id"], service.upload("words,label\n" + "a,b\n" * 5)["id"]
    error = service.refused(dataset={"train": [first, other]})
    assert (error["param"], error["code"]) == ("dataset.text", "unknown_column")
    assert "(dataset.train[1]) has no column 'text'" in error["message"]
    missing = service.refused(dataset={"train": [first, "ds_nothere22"]})
    assert (missing["param"], missing["code"]) == ("dataset.train[1]", "unknown_dataset")
    wrong = service.refused(dataset={"train": [first, "nonsense"]})
    assert wrong["param"].startswith("dataset.train")
    assert service.refused(dataset={"train": [first, first]})["param"] == "dataset.train"


def test_each_data_set_is_kept_while_a_job_uses_it(service: Service) -> None:
    ids = [service.upload(rows(40))["id"] for _ in range(2)]
    service.submit(dataset={"train": [ids[0], {"id": ids[1], "weight": 0.5}]})
    for one in ids:
        assert service.client.delete(f"/datasets/{one}").status_code == 409


def test_the_hardest_rows_are_named_in_their_own_data_set(service: Service) -> None:
    ids = [service.upload(rows(40))["id"] for _ in range(2)]
    job = service.submit(dataset={"train": ids})["id"]
    shared = {"job_id": job, "data": "train", "input": {}, "expected": "a", "predicted": "b", "loss": 1.0}
    with service.db.write() as session:
        session.add_all([HardestExample(place=place, row=row, **shared) for place, row in ((1, 40), (2, 41))])
    found = service.client.get(f"/jobs/{job}/worst").json()["data"]
    assert [(row["dataset"], row["row"]) for row in found] == [(ids[0], 40), (ids[1], 1)]


def test_groups_are_columns_of_plain_values_and_more_than_one(service: Service) -> None:
    several = service.upload(table(*(f"text {n},{n % 2},{n % 7}" for n in range(40))))["id"]
    plan = plan_of(service, train=several, group="who")
    assert any("Whole groups of 'who'" in warning for warning in plan["warnings"])
    unknown = service.refused(dataset={"train": several, "group": "patient"})
    assert (unknown["param"], unknown["code"]) == ("dataset.group", "unknown_column")
    classes = service.refused(dataset={"train": several, "group": "label"})
    assert (classes["param"], classes["code"]) == ("dataset.group", "group_is_label")
    assert "leave dataset.group out" in classes["message"]
    one = service.upload(table(*(f"text {n},{n % 2},same" for n in range(40))))["id"]
    assert service.refused(dataset={"train": one, "group": "who"})["code"] == "one_group"


def test_classes_are_counted_by_name(service: Service) -> None:
    plan = plan_of(service, train=service.upload(table(*(f"film {i},{'pn'[i % 3 == 0]},w" for i in range(20))))["id"])
    assert list(plan["classes"].items()) == [("p", 13), ("n", 7)]


def test_two_data_sets_without_a_common_class(service: Service) -> None:
    first, same, other, one = (
        service.upload(table(*(f"{of} {i},{names[i % len(names)]},w" for i in range(20))))["id"]
        for of, names in (("a", "pn"), ("b", "pn"), ("c", ("pos", "neg")), ("d", ("odd",)))
    )
    (warning,) = [
        found for found in plan_of(service, train=[first, same, other])["warnings"] if f"{first} and" in found
    ]
    assert f"Data sets {first} and {other} have no class in common: 'p', 'n', and 'pos', 'neg'." in warning
    assert not any("in common" in found for found in plan_of(service, train=[first, one])["warnings"])
