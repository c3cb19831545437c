"""Two hosts with a home folder each: what was uploaded at one is read at the other, downloads come from the store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.artifacts.byte_ranges import single_range
from service.shared.database.tables import Artifact, StoredFile
from service.shared.settings import Settings
from service.shared.storage.store_errors import StorageUnavailable
from tests.service.support import Service, copy_model, error_of, finish, rows, run_job, running

CONTENT = bytes(range(256)) * 1_000


@pytest.fixture
def hosts(tmp_path: Path, tiny_model: Path, tiny_facts: dict[str, Any]) -> Iterator[tuple[Service, Service]]:
    first = Settings(home=tmp_path / "a", storage_url=f"file://{tmp_path}/shared")
    database = first.resolved_database_url
    copy_model(tiny_model, first)
    with running(first, tiny_facts) as own:
        second = first.model_copy(update={"home": tmp_path / "b", "database_url": database})
        second.resolved_home.mkdir()
        second.files.api_key.write_text(first.files.api_key.read_text())
        with running(second) as other:
            yield own, other


def publish(service: Service, job_id: str) -> str:
    """Ends a job with an artifact that is in the store and on no host."""
    run_job(service, job_id)
    digest = finish(service, job_id, CONTENT)
    path = service.settings.files.artifact(job_id, "lora")
    content = service.context.host_files.put(path, f"p/{job_id}")
    with service.db.write() as session:
        service.context.host_files.record(session, path, content, job_id)
    path.unlink()
    return digest


def test_rows_uploaded_at_one_host_are_read_at_the_other(hosts: tuple[Service, Service]) -> None:
    own, other = hosts
    dataset = own.upload(rows())["id"]
    assert other.client.get(f"/datasets/{dataset}/rows").json() == own.client.get(f"/datasets/{dataset}/rows").json()
    spec = own.spec(dataset={"train": dataset})
    planned = own.client.post("/jobs", params={"dry_run": "true"}, json=spec)
    assert planned.status_code == 200, planned.text
    assert other.client.delete(f"/datasets/{dataset}").status_code == 204
    with own.db.read() as session:
        assert session.query(StoredFile).count() == 0
    assert list((own.settings.resolved_home.parent / "shared").rglob(f"*{dataset}*-*")) == []


def test_an_upload_without_a_store_leaves_nothing(hosts: tuple[Service, Service]) -> None:
    own, _ = hosts
    store = own.context.host_files.store
    assert store is not None

    def away(*_: object) -> None:
        raise StorageUnavailable("The store is away.")

    store.put = away  # type: ignore[method-assign,assignment]
    response = own.client.post("/datasets", files={"file": ("rows.csv", rows())})
    assert response.status_code == 503
    assert error_of(response.json())["code"] == "storage_unavailable"
    assert response.headers["retry-after"]
    assert own.client.get("/datasets").json()["data"] == []
    assert list(own.settings.files.datasets.iterdir()) == []


def test_downloads_come_from_the_store(hosts: tuple[Service, Service]) -> None:
    own, other = hosts
    job = own.submit()["id"]
    digest = publish(own, job)
    path = f"/jobs/{job}/artifacts/lora"
    whole = other.client.get(path)
    assert hashlib.sha256(whole.content).hexdigest() == digest
    assert whole.headers["etag"] == f'"{digest}"'
    assert whole.headers["content-length"] == str(len(CONTENT))
    head = other.client.head(path)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(CONTENT)))
    part = other.client.get(path, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, CONTENT[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(CONTENT)}"
    changed = other.client.get(path, headers={"range": "bytes=100-", "if-range": '"another"'})
    assert (changed.status_code, changed.content) == (200, CONTENT)
    assert other.client.get(path, headers={"range": f"bytes={len(CONTENT)}-"}).status_code == 416
    assert other.client.get(path, headers={"if-none-match": f'"{digest}"'}).status_code == 304
    assert not other.settings.files.artifact(job, "lora").exists()  # not through this host's disk


def test_deleted_jobs_leave_no_object(hosts: tuple[Service, Service]) -> None:
    own, other = hosts
    job = own.submit()["id"]
    publish(own, job)
    assert other.client.delete(f"/jobs/{job}").status_code == 204
    assert list((own.settings.resolved_home.parent / "shared").rglob("lora*")) == []


@pytest.mark.slow
def test_downloads_are_redirected_to_the_store(
    settings: Settings, store_url: str, tiny_model: Path, tiny_facts: dict[str, Any]
) -> None:
    copy_model(tiny_model, settings)
    with running(settings.model_copy(update={"storage_url": store_url, "storage_redirect": True}), tiny_facts) as one:
        job = one.submit()["id"]
        publish(one, job)
        path = f"/jobs/{job}/artifacts/lora"
        answer = one.client.get(path, follow_redirects=False)
        assert answer.status_code == 307
        assert httpx.get(answer.headers["location"]).content == CONTENT
        assert one.client.head(path).headers["content-length"] == str(len(CONTENT))
        with one.db.read() as session:
            assert session.get_one(Artifact, (job, "lora")).path == f"artifacts/{job}/lora.zip"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-9", (0, 10)),
        ("bytes=5-", (5, 100)),
        ("bytes=-5", (95, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=90-500", (90, 100)),
        ("bytes=0-1,5-6", None),
        ("bytes=9-5", None),
        ("lines=1-2", None),
    ],
)
def test_one_range(header: str | None, expected: tuple[int, int] | None) -> None:
    assert single_range(header, 100) == expected
