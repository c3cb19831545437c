"""Names, tags, notes and groups of jobs: written at any time, and found by."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from service.shared.database.tables import JobTag
from tests.service.support import Service, error_of, run_job


def edit(service: Service, job: str, **changes: Any) -> dict[str, Any]:
    response = service.client.patch(f"/jobs/{job}", json=changes)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def names(service: Service, **narrowed: Any) -> list[str]:
    return sorted(job["name"] for job in service.client.get("/jobs", params=narrowed).json()["data"])


def test_what_is_given_changes_and_the_rest_stays(any_service: Service) -> None:
    service = any_service
    job = service.submit()
    assert (job["tags"], job["group"], job["notes"]) == ([], None, None)
    run_job(service, job["id"])  # a running job too
    edited = edit(
        service, job["id"], name="better", tags=["keep", " a b ", "keep"], notes="rate\ntoo high", group="rates"
    )
    assert (edited["name"], edited["tags"]) == ("better", ["keep", "a b"])
    assert edited["spec"]["name"] == "reviews", "as it was sent"
    assert edited["status"] == "running"
    edited = edit(service, job["id"], tags=[])
    assert (edited["name"], edited["tags"], edited["notes"], edited["group"]) == (
        "better",
        [],
        "rate\ntoo high",
        "rates",
    )
    edited = edit(service, job["id"], notes=None, group=None)
    assert (edited["name"], edited["notes"], edited["group"]) == ("better", None, None)
    assert service.client.get(f"/jobs/{job['id']}").json() == edited


def test_lists_have_the_beginning_of_notes(service: Service) -> None:
    job = service.submit()
    for notes, listed in (("rate too high", "rate too high"), ("a " * 200, f"{'a ' * 49}a…"), (None, None)):
        edit(service, job["id"], notes=notes)
        assert service.client.get("/jobs").json()["data"][0]["notes"] == listed
        assert service.client.get(f"/jobs/{job['id']}").json()["notes"] == notes


def test_jobs_are_found_by_the_data_sets_that_they_use(any_service: Service) -> None:
    service = any_service
    first, second, unused = (service.add_rows() for _ in range(3))
    service.submit(name="one", dataset={"train": first})
    service.submit(name="both", dataset={"train": [first, {"id": second, "weight": 2}]})
    service.submit(name="held out", dataset={"train": second, "eval": first})
    assert names(service, dataset=first) == ["both", "held out", "one"]
    assert names(service, dataset=second) == ["both", "held out"]
    assert names(service, dataset=unused) == []
    refused = service.client.get("/jobs", params={"dataset": "%"})
    assert (refused.status_code, error_of(refused.json())["param"]) == (422, "dataset")


def test_jobs_are_found_by_all_tags_and_by_group(any_service: Service) -> None:
    service = any_service
    data = {"train": service.add_rows()}
    for name, tags, group in (("one", ["a"], "g"), ("two", ["a", "b"], "g"), ("three", ["b", "a%"], None)):
        edit(service, service.submit(name=name, dataset=data)["id"], tags=tags, group=group)
    assert names(service, tag="a") == ["one", "two"]
    assert names(service, tag=["a", "b"]) == ["two"]
    assert names(service, tag="a%") == ["three"]
    assert names(service, group="g") == ["one", "two"]
    assert names(service, group="g", tag="b") == ["two"]
    assert names(service, tag="none") == []
    summary = service.client.get("/jobs", params={"tag": ["a", "b"]}).json()
    assert (summary["total"], summary["data"][0]["tags"], summary["data"][0]["group"]) == (1, ["a", "b"], "g")


def test_tags_go_with_their_job(service: Service) -> None:
    job = service.submit()["id"]
    edit(service, job, tags=["a", "b"])
    service.client.post(f"/jobs/{job}/cancel")
    assert service.client.delete(f"/jobs/{job}").status_code == 204
    with service.db.read() as session:
        assert session.scalars(select(JobTag)).all() == []


def test_other_projects_do_not_find_it(service: Service) -> None:
    job = service.submit()["id"]
    edit(service, job, tags=["a"])
    others = {"Authorization": f"Bearer {service.key_for('others')}"}
    assert service.client.get("/jobs", params={"tag": "a"}, headers=others).json()["data"] == []
    response = service.client.patch(f"/jobs/{job}", json={"tags": []}, headers=others)
    assert (response.status_code, error_of(response.json())["code"]) == (404, "job_not_found")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"name": ""}, "name"),
        ({"tags": ["a" * 41]}, "tags[0]"),
        ({"tags": ["ok", "line\nbreak"]}, "tags[1]"),
        ({"tags": [str(number) for number in range(21)]}, "tags"),
        ({"group": ""}, "group"),
        ({"status": "succeeded"}, "status"),
    ],
)
def test_bad_changes_name_their_field(service: Service, changes: dict[str, Any], param: str) -> None:
    response = service.client.patch("/jobs/job_none", json=changes)
    assert response.status_code == 422
    assert error_of(response.json())["param"] == param
