from __future__ import annotations

from service.shared.database.tables import HardestExample
from tests.service.support import Service, error_of


def test_hardest_examples_are_listed_and_deleted_with_the_job(any_service: Service) -> None:
    service = any_service
    job = service.submit()["id"]
    assert service.client.get(f"/jobs/{job}/worst").json()["data"] == []
    with service.db.write() as session:
        for place in (2, 1, 3):
            row = HardestExample(job_id=job, place=place, row=10 * place, data="train", input={"text": "a"})
            row.expected, row.predicted = ["a", "b"], None
            row.loss = None if place == 1 else 1.0 / place
            session.add(row)
    page = service.client.get(f"/jobs/{job}/worst", params={"limit": 2}).json()
    assert page["has_more"] is True
    assert [(row["place"], row["row"], row["loss"]) for row in page["data"]] == [(1, 10, None), (2, 20, 0.5)]
    assert page["data"][0]["expected"] == ["a", "b"]
    assert page["data"][0]["predicted"] is None
    service.client.post(f"/jobs/{job}/cancel")
    assert service.client.delete(f"/jobs/{job}").status_code == 204
    with service.db.read() as session:
        assert session.query(HardestExample).count() == 0


def test_of_an_unknown_job(service: Service) -> None:
    response = service.client.get("/jobs/job_nothere1234/worst")
    assert (response.status_code, error_of(response.json())["code"]) == (404, "job_not_found")
