"""Predictions through the API, with a really trained model in a real process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from service.shared.database.tables import JobStatus
from tests.service.predict.conftest import AddJob
from tests.service.support import Service, error_of

pytestmark = pytest.mark.slow

GOOD, BAD = "word1 great word2 lovely", "awful word3 dull word4"


def ask(service: Service, job: str, *inputs: Any, **more: Any) -> dict[str, Any]:
    response = service.client.post(f"/jobs/{job}/predict", json={"inputs": list(inputs), **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def refused(service: Service, job: str, status: int, body: Any) -> dict[str, Any]:
    response = service.client.post(f"/jobs/{job}/predict", json=body)
    assert response.status_code == status, response.text
    return error_of(response.json())


def child_pid(service: Service) -> int:
    child = service.context.predictor._child
    assert child is not None
    assert child.pid is not None
    return child.pid


@pytest.mark.parametrize("artifact", ["merged", "lora", "adapter"])
def test_answers_of_every_artifact(service: Service, add_job: AddJob, artifact: str) -> None:
    answer = ask(service, add_job(artifact), GOOD, {"text": BAD})
    assert (answer["artifact"], answer["task"]) == (artifact, "text-classification")
    good, bad = answer["data"]
    assert (good["label"], bad["label"]) == ("good", "bad")
    assert good["scores"]["good"] == good["score"] > 0.5
    assert sum(good["scores"].values()) == pytest.approx(1, abs=1e-4)


def test_artifacts_agree(service: Service, add_job: AddJob) -> None:
    scores = [ask(service, add_job(name), GOOD)["data"][0]["score"] for name in ("merged", "lora", "adapter")]
    assert max(scores) - min(scores) < 1e-4
    assert ask(service, add_job("adapter", "lora", "merged"), GOOD)["artifact"] == "merged"


def test_base_model_without_a_head_is_refused_and_leaves_the_trained_one_usable(
    service: Service, add_job: AddJob
) -> None:
    job = add_job("lora", "merged")
    error = refused(service, job, 409, {"inputs": [GOOD], "with_base": True})
    assert error["code"] == "no_head"
    assert "no trained head" in error["message"]
    assert ask(service, job, GOOD)["data"][0]["label"] == "good"


def test_only_models_that_write_can_stream(service: Service, add_job: AddJob) -> None:
    response = service.client.post(f"/jobs/{add_job('merged')}/predict/stream", json={"inputs": [GOOD]})
    assert (response.status_code, error_of(response.json())["code"]) == (422, "writes_no_text")


def test_process_stays_warm_and_leaves_nothing_unpacked(service: Service, add_job: AddJob) -> None:
    job = add_job("merged")
    ask(service, job, GOOD)
    first = child_pid(service)
    assert ask(service, job, BAD)["seconds"] < 5
    assert child_pid(service) == first != os.getpid()
    assert "torch" not in Path(f"/proc/{first}/cmdline").read_bytes().decode()
    scratch = service.settings.files.predictions
    assert {path.name for folder in scratch.iterdir() for path in folder.iterdir()} == {"lock"}


def test_process_ends_without_its_parent_and_is_started_again(service: Service, add_job: AddJob) -> None:
    job = add_job("merged")
    ask(service, job, GOOD)
    child = service.context.predictor._child
    assert child is not None
    os.close(child._requests)  # as when the parent is gone
    assert child._process.wait(120) == 0
    child._requests = os.open(os.devnull, os.O_WRONLY)  # to be closed with the process
    assert ask(service, job, GOOD)["data"][0]["label"] == "good"
    assert child_pid(service) != child.pid


def test_damaged_file_is_never_loaded(service: Service, add_job: AddJob) -> None:
    job = add_job("merged")
    path = service.settings.files.artifact(job, "merged")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert refused(service, job, 503, {"inputs": [GOOD]})["code"] == "artifact_damaged"
    path.unlink()
    assert refused(service, job, 404, {"inputs": [GOOD]})["code"] == "artifact_gone"


def test_base_model_is_gone(service: Service, add_job: AddJob) -> None:
    job = add_job("lora", base_model="vanished")
    assert refused(service, job, 409, {"inputs": [GOOD]})["code"] == "model_load_failed"


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED])
def test_job_that_has_not_succeeded(service: Service, add_job: AddJob, status: JobStatus) -> None:
    assert refused(service, add_job(status=status), 409, {"inputs": [GOOD]})["code"] == f"job_{status}"


def test_unknown_job(service: Service) -> None:
    assert refused(service, "job_nothere1234", 404, {"inputs": [GOOD]})["code"] == "job_not_found"


WRONG: list[tuple[Any, str]] = [
    ({}, "inputs"),
    ({"inputs": []}, "inputs"),
    ({"inputs": ["a"] * 65}, "inputs"),
    ({"inputs": [GOOD, ""]}, "inputs[1].text"),
    ({"inputs": [GOOD, {"text": "  "}]}, "inputs[1].text"),
    ({"inputs": [GOOD, {"txt": "a"}]}, "inputs[1].txt"),
    ({"inputs": [{}]}, "inputs[0].text"),
    ({"inputs": [{"text": "a", "text_pair": "b"}]}, "inputs[0].text_pair"),
    ({"inputs": [{"prompt": "a"}]}, "inputs[0].prompt"),
    ({"inputs": [GOOD], "max_new_tokens": 5}, "max_new_tokens"),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=[param for _, param in WRONG])
def test_wrong_input_is_named(service: Service, add_job: AddJob, body: Any, param: str) -> None:
    error = refused(service, add_job("merged"), 422, body)
    assert error["param"] == param
    assert param in error["message"]


def test_other_tasks_name_their_fields(service: Service, add_job: AddJob) -> None:
    dataset = {"train": "ds_" + "a" * 12}
    pairs = add_job("merged", dataset=dataset | {"text_pair": "b"})
    assert refused(service, pairs, 422, {"inputs": ["a"]})["param"] == "inputs[0]"
    assert refused(service, pairs, 422, {"inputs": [{"text": "a"}]})["param"] == "inputs[0].text_pair"
    images = add_job("merged", task="image-classification", dataset=dataset)
    assert refused(service, images, 422, {"inputs": [{"image": "no base64"}]})["param"] == "inputs[0].image"
    chats = add_job("merged", task="text-generation", dataset=dataset | {"messages": "messages"})
    last = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    assert refused(service, chats, 422, {"inputs": [last]})["param"] == "inputs[0].messages"
    wrong = {"messages": [{"role": "robot", "content": "a"}]}
    assert refused(service, chats, 422, {"inputs": [wrong]})["param"] == "inputs[0].messages[0].role"


def test_form_with_files(service: Service, add_job: AddJob) -> None:
    response = service.client.post(f"/jobs/{add_job('merged')}/predict", files={"file": ("a.png", b"x")})
    assert response.status_code == 422
    assert error_of(response.json())["param"] == "inputs[0].image"  # it is a form that was read: the job takes texts


def test_not_json(service: Service, add_job: AddJob) -> None:
    response = service.client.post(f"/jobs/{add_job('merged')}/predict", content=b"{")
    assert (response.status_code, error_of(response.json())["code"]) == (400, "invalid_json")


def test_too_large(service: Service, add_job: AddJob) -> None:
    body = {"inputs": ["a" * 90_000] * 60 + ["b" * 99_000] * 4, "max_new_tokens": None}
    response = service.client.post(f"/jobs/{add_job('merged')}/predict", json=body)
    assert response.status_code == 200, response.text  # 5.8 MB are more than other calls take
    response = service.client.post(f"/jobs/{add_job('merged')}/predict", content=b" " * (9 * 2**20))
    assert response.status_code == 413
