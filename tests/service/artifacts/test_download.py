"""Downloads: whole, in ranges, resumed, and not again."""

from __future__ import annotations

import hashlib

import pytest

from tests.service.support import Service, error_of, finish, run_job

CONTENT = bytes(range(256)) * 1_000


@pytest.fixture
def download(service: Service) -> tuple[Service, str, str]:
    """The service, the path of an artifact, and its sha256."""
    job_id = service.submit(name="Ein Name: ü/ä")["id"]
    run_job(service, job_id)
    digest = finish(service, job_id, CONTENT)
    return service, f"/jobs/{job_id}/artifacts/lora", digest


def test_artifacts_are_listed(download: tuple[Service, str, str]) -> None:
    service, path, digest = download
    (item,) = service.client.get(path.removesuffix("/lora")).json()["data"]
    assert (item["name"], item["size_bytes"], item["sha256"]) == ("lora", len(CONTENT), digest)
    assert item["manifest"] == {"format": "adamss-lora"}
    assert "path" not in item


def test_the_whole_file(download: tuple[Service, str, str]) -> None:
    service, path, digest = download
    response = service.client.get(path)
    assert response.status_code == 200
    assert hashlib.sha256(response.content).hexdigest() == digest
    assert response.headers["etag"] == f'"{digest}"'
    assert response.headers["content-length"] == str(len(CONTENT))
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["content-disposition"] == 'attachment; filename="Ein-Name-lora.zip"'


def test_headers_alone(download: tuple[Service, str, str]) -> None:
    """As download managers ask before they begin."""
    service, path, digest = download
    response = service.client.head(path)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["etag"] == f'"{digest}"'
    assert response.headers["content-length"] == str(len(CONTENT))
    assert service.client.head(f"{path}x").status_code == 404


@pytest.mark.parametrize(
    ("header", "begin", "end"), [("bytes=0-9", 0, 10), ("bytes=255990-", 255_990, None), ("bytes=-5", -5, None)]
)
def test_ranges(download: tuple[Service, str, str], header: str, begin: int, end: int | None) -> None:
    service, path, digest = download
    response = service.client.get(path, headers={"range": header})
    assert response.status_code == 206
    assert response.content == CONTENT[begin:end]
    assert response.headers["content-range"].endswith(f"/{len(CONTENT)}")
    assert response.headers["etag"] == f'"{digest}"'


def test_a_broken_download_is_resumed_only_for_the_same_file(download: tuple[Service, str, str]) -> None:
    service, path, digest = download
    resumed = service.client.get(path, headers={"range": "bytes=100-", "if-range": f'"{digest}"'})
    assert (resumed.status_code, resumed.content) == (206, CONTENT[100:])
    for begin in (100, len(CONTENT) + 1):  # the file before may have been longer
        changed = service.client.get(path, headers={"range": f"bytes={begin}-", "if-range": '"another"'})
        assert (changed.status_code, changed.content) == (200, CONTENT)


@pytest.mark.parametrize("tag", ['"{}"', 'W/"{}"', '"x", "{}"', "*"])
def test_what_the_caller_has_is_not_sent_again(download: tuple[Service, str, str], tag: str) -> None:
    service, path, digest = download
    response = service.client.get(path, headers={"if-none-match": tag.format(digest)})
    assert (response.status_code, response.content) == (304, b"")
    assert service.client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_a_range_beyond_the_end_is_416(download: tuple[Service, str, str]) -> None:
    service, path, _ = download
    response = service.client.get(path, headers={"range": "bytes=999999999-"})
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert error_of(response.json())["code"] == "range_not_satisfiable"


@pytest.mark.parametrize("header", ["lines=1-2", "bytes=5-2", "bytes=a-b", "bytes=", "bytes", "bytes=1-2;3-4"])
def test_a_range_that_makes_no_sense_is_ignored(download: tuple[Service, str, str], header: str) -> None:
    service, path, _ = download
    response = service.client.get(path, headers={"range": header})
    assert (response.status_code, len(response.content)) == (200, len(CONTENT))


def test_a_thousand_ranges_are_no_attack(download: tuple[Service, str, str]) -> None:
    service, path, _ = download
    response = service.client.get(path, headers={"range": "bytes=" + ",".join(f"{n}-" for n in range(1_000))})
    assert response.status_code == 200
    assert len(response.content) == len(CONTENT)


def test_unknown_artifacts(download: tuple[Service, str, str]) -> None:
    service, path, _ = download
    missing = service.client.get(path.replace("lora", "merged"))
    assert missing.status_code == 404
    assert "It has lora." in error_of(missing.json())["message"]
    for file in (service.settings.files.artifacts).rglob("*.zip"):
        file.unlink()
    assert error_of(service.client.get(path).json())["code"] == "artifact_gone"
