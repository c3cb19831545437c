"""Base models through the API: archives that are taken, what is refused and why, names, quotas, and deletion."""

from __future__ import annotations

import hashlib
import json
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.base_models import inspection
from service.jobs import service as jobs
from service.operations.backup import backup, restore
from service.operations.doctor import _models as check_models
from service.shared.database.engine import Database
from service.shared.database.tables import AuditEntry, Job, Project
from service.shared.settings import Settings
from service.shared.storage import model_folder
from tests.marks import compat
from tests.service.base_models.archives import files_of, tar_of, tar_with, zip_of
from tests.service.support import MODEL, Service, error_of, finish, run_job, running
from worker.request import build_request

pytestmark = pytest.mark.slow

Files = dict[str, bytes]


@pytest.fixture
def files(tiny_model: Path) -> Files:
    return files_of(tiny_model)


@pytest.fixture
def empty(settings: Settings) -> Iterator[Service]:
    """A service without a base model."""
    with running(settings) as service:
        yield service


def add(service: Service, archive: bytes, name: str = "mine", **more: Any) -> Any:
    kind = {"content-type": "application/zip" if archive[:2] == b"PK" else "application/x-tar"}
    return service.client.post("/models", params={"name": name}, content=archive, headers=kind, **more)


def refused(service: Service, archive: bytes, status: int = 422, name: str = "mine") -> dict[str, Any]:
    """The error that an archive is refused with; nothing is left of it."""
    answer = add(service, archive, name)
    assert answer.status_code == status, answer.text
    assert list(service.settings.files.added_models.iterdir()) == []
    return error_of(answer.json())


def some_of(cases: dict[str, Any], *everywhere: str) -> list[Any]:
    """The cases of `make test`, and the others for `make compat`."""
    return [name if name in everywhere else compat(name) for name in cases]


PACKED: dict[str, Callable[[Files], bytes]] = {
    "tar": tar_of,
    "tar.gz": lambda files: tar_of(files, "w:gz"),
    "zip": lambda files: zip_of(files, zipfile.ZIP_DEFLATED),
    "tar of a folder": lambda files: tar_of({f"./models/mine/{name}": content for name, content in files.items()}),
    "zip of a folder": lambda files: zip_of({f"mine/{name}": content for name, content in files.items()}),
}


@pytest.mark.parametrize("packed", some_of(PACKED, "tar", "zip of a folder"))
def test_archive_becomes_a_model_that_jobs_train_on(empty: Service, files: Files, packed: str) -> None:
    answer = add(empty, PACKED[packed](files), "org/mine")
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == "/models/org/mine"
    model = answer.json()
    assert (model["name"], model["source"], model["status"], model["problem"]) == ("org/mine", "upload", "ready", None)
    assert model["tasks"] == ["text-classification", "token-classification"]
    kept = {file["name"]: file for file in model["files"]}
    assert {name: one["sha256"] for name, one in kept.items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items()
    }
    assert model["size_bytes"] == sum(map(len, files.values()))
    (folder,) = empty.settings.files.added_models.iterdir()
    assert files_of(folder) == files
    assert empty.client.get("/models").json()["data"] == [
        {name: value for name, value in model.items() if name not in ("files", "used_by", "left_out")}
    ]
    plan = empty.client.post("/jobs?dry_run=true", json=empty.spec(base_model="org/mine"))
    assert plan.status_code == 200, plan.text
    assert plan.json()["spec_version"] == 2  # workers of the release before would miss the folder


def test_files_that_no_model_is_loaded_from_are_left_out(empty: Service, files: Files) -> None:
    more = {
        "README.md": b"# Mine",
        "modeling_mine.py": b"raise SystemExit",
        "onnx/model.onnx": b"x",
        ".git/a.json": b"{}",
    }
    model = add(empty, tar_of(files | more | {"1_Pooling/config.json": b"{}"})).json()
    assert set(model["left_out"]) == {*more, "1_Pooling/config.json"}
    assert {file["name"] for file in model["files"]} == set(files)


def broken_index(files: Files) -> Files:
    shards = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    rest = {name: content for name, content in files.items() if not name.endswith(".safetensors")}
    weights = files["model.safetensors"]
    return rest | {
        "model.safetensors.index.json": json.dumps(shards).encode(),
        "model-00001-of-00002.safetensors": weights,
    }


def without(files: Files, *names: str) -> Files:
    return {name: content for name, content in files.items() if not name.startswith(names)}


UNUSABLE: dict[str, tuple[Callable[[Files], Files], str, str]] = {
    "no config": (lambda files: without(files, "config"), "missing_file", "config.json is missing"),
    "no weights": (lambda files: without(files, "model"), "missing_file", "safe_serialization=True"),
    "no tokenizer": (lambda files: without(files, "tokenizer"), "missing_tokenizer", "tokenizer.json"),
    "a pickle": (lambda files: files | {"pytorch_model.bin": b"x"}, "pickle_weights", "safe_serialization=True"),
    "a pickle of torch": (lambda files: files | {"a/optimizer.pt": b"x"}, "pickle_weights", "'a/optimizer.pt'"),
    "a missing shard": (broken_index, "missing_file", "'model-00002-of-00002.safetensors'"),
    "truncated weights": (
        lambda files: files | {"model.safetensors": files["model.safetensors"][:-1]}, "truncated_file", "in place",
    ),
    "a header that is none": (
        lambda files: files | {"model.safetensors": struct.pack("<Q", 4) + b"nope"}, "damaged_file", "header",
    ),
    "a header beyond the file": (
        lambda files: files | {"model.safetensors": struct.pack("<Q", 2**60) + b"{}"}, "truncated_file", "model.safet",
    ),
    "a config that is none": (lambda files: files | {"config.json": b"[" * 100_000}, "damaged_file", "config.json"),
    "an unknown architecture": (
        lambda files: files | {"config.json": b'{"model_type": "mine"}'}, "model_unusable", "config.json",
    ),
    "code of its own": (
        lambda files: files | {
            "config.json": b'{"model_type": "mine", "auto_map": {"AutoConfig": "modeling_mine.MineConfig"}}',
            "modeling_mine.py": b"raise SystemExit",
        },
        "model_unusable", "code of its own",
    ),
    "two models": (
        lambda files: {f"{one}/{name}": text for one in "ab" for name, text in files.items()}, "several_models", "'a'",
    ),
    "one file twice": (lambda files: files | {"Config.json": b"{}"}, "repeated_file", "Config.json"),
}  # fmt: skip


@pytest.mark.parametrize(
    "fault",
    some_of(
        UNUSABLE,
        "no config",
        "no weights",
        "no tokenizer",
        "a pickle",
        "a missing shard",
        "truncated weights",
        "code of its own",
    ),
)
def test_unusable_model_is_refused_with_a_remedy(empty: Service, files: Files, fault: str) -> None:
    change, code, words = UNUSABLE[fault]
    error = refused(empty, tar_of(change(files)))
    assert (error["code"], error["param"]) == (code, "file")
    assert words in error["message"]
    assert str(empty.settings.resolved_home) not in error["message"]


def link(kind: bytes, name: str = "config.json") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


def encrypted(files: Files) -> bytes:
    content = bytearray(zip_of(files))
    for at in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[at] |= 1
    return bytes(content)


ATTACKS: dict[str, tuple[Callable[[Files], bytes], str]] = {
    "nothing": (lambda _: b"", "empty_body"),
    "no archive": (lambda _: b"hello " * 1000, "damaged_archive"),
    "a cut tar": (lambda files: tar_of(files)[: len(tar_of(files)) // 2], "damaged_archive"),
    "a cut zip": (lambda files: zip_of(files)[:-100], "damaged_archive"),
    "a path upward": (lambda files: tar_of({"../config.json": b"{}"}), "unsafe_archive"),
    "a path upward in a zip": (lambda files: zip_of({"a/../../config.json": b"{}"}), "unsafe_archive"),
    "an absolute path": (lambda files: tar_of({"/tmp/config.json": b"{}"}), "unsafe_archive"),
    "a backslash": (lambda files: zip_of({"..\\config.json": b"{}"}), "unsafe_archive"),
    "a symbolic link": (lambda files: tar_with(link(tarfile.SYMTYPE)), "unsafe_archive"),
    "a hard link": (lambda files: tar_with(link(tarfile.LNKTYPE)), "unsafe_archive"),
    "a device": (lambda files: tar_with(link(tarfile.CHRTYPE)), "unsafe_archive"),
    "an encrypted zip": (encrypted, "encrypted_zip"),
    "too many files": (lambda files: zip_of({f"{number}.md": b"" for number in range(10_001)}), "too_many_files"),
}


@pytest.mark.parametrize(
    "attack",
    some_of(ATTACKS, "nothing", "a cut tar", "a path upward", "a symbolic link", "an encrypted zip", "too many files"),
)
def test_hostile_archive_leaves_nothing(empty: Service, files: Files, attack: str) -> None:
    make, code = ATTACKS[attack]
    assert refused(empty, make(files))["code"] == code


@pytest.mark.parametrize(
    "pack",
    [
        lambda files: zip_of(files, zipfile.ZIP_DEFLATED),
        compat(tar_of),
        compat(lambda files: tar_of(files, "w:gz")),
    ],
)
def test_model_beyond_the_limit_is_refused(settings: Settings, files: Files, pack: Callable[[Files], bytes]) -> None:
    """Also a bomb: 64 MB of zeros in a file that would be left out anyway."""
    limit = settings.model_copy(update={"max_model_bytes": 2**20})
    with running(limit) as service:
        error = refused(service, pack({"zeros.md": bytes(2**26)} | files), 413)
        assert (error["code"], error["param"]) == ("model_too_large", "file")
        assert "ADAMSS_MAX_MODEL_BYTES" in error["message"]


def test_names(service: Service, files: Files) -> None:
    """A name that exists is a 409 with its remedy, the same model again no second one, and deletion frees the name."""
    for name in ("../mine", "a/b/c", "", "org/spectrum", "-x", "a b"):
        error = refused(service, b"never read", 422, name)
        assert error["param"] == "name", name
    assert refused(service, tar_of(files), 409, MODEL)["code"] == "model_exists"
    first = add(service, tar_of(files))
    again = add(service, zip_of(files))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["sha256"] == first.json()["sha256"]
    other = files | {"special.txt": b"other"}
    error = error_of(add(service, tar_of(other)).json())
    assert (error["code"], error["param"]) == ("model_exists", "name")
    assert "DELETE /models/mine" in error["message"]
    assert len(list(service.settings.files.added_models.iterdir())) == 1
    assert service.client.delete("/models/mine").status_code == 204
    assert list(service.settings.files.added_models.iterdir()) == []
    assert service.client.get("/models/mine").status_code == 404
    error = service.refused(base_model="mine")
    assert (error["code"], error["param"]) == ("unknown_model", "base_model")
    assert "was deleted on" in error["message"]
    assert add(service, tar_of(other)).status_code == 201


def test_two_uploads_of_one_name_at_once(empty: Service, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are unpacked before either is stored: one is the model, the other finds it there.

    Seen to fail: without the unique index, both are stored; without the second look, the loser is a 500.
    """
    both = threading.Barrier(2, timeout=60)
    real = inspection.inspect

    def inspected_together(*arguments: Any, **options: Any) -> Any:
        both.wait()
        return real(*arguments, **options)

    monkeypatch.setattr(inspection, "inspect", inspected_together)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(add(empty, tar_of(files)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 201], [one.text for one in answers]
    assert len(list(empty.settings.files.added_models.iterdir())) == 1


def test_models_belong_to_their_project(empty: Service, files: Files) -> None:
    """Another project neither sees nor uses nor deletes the model, and may give the name to its own."""
    assert add(empty, tar_of(files)).status_code == 201
    theirs = {"authorization": f"Bearer {empty.key_for('theirs')}"}
    assert empty.client.get("/models", headers=theirs).json()["data"] == []
    for answer in (
        empty.client.get("/models/mine", headers=theirs),
        empty.client.delete("/models/mine", headers=theirs),
    ):
        assert (answer.status_code, error_of(answer.json())["code"]) == (404, "model_not_found")
    content = tar_of(files | {"special.txt": b"other"})
    kind = {"content-type": "application/x-tar"}
    answer = empty.client.post("/models?name=mine", content=content, headers=theirs | kind)
    assert answer.status_code == 201
    assert answer.json()["sha256"] != empty.client.get("/models/mine").json()["sha256"]


def test_size_counts_in_the_quota_and_the_audit_log_tells_who(empty: Service, files: Files) -> None:
    with empty.db.write() as session:
        (project,) = session.query(Project)
        project.max_storage_bytes = 1000
    error = refused(empty, tar_of(files), 413)
    assert error["code"] == "storage_full"
    with empty.db.write() as session:
        session.get_one(Project, project.id).max_storage_bytes = 10**7
    assert add(empty, tar_of(files)).status_code == 201
    empty.client.delete("/models/mine")
    with empty.db.read() as session:
        actions = [entry.action for entry in session.query(AuditEntry).order_by(AuditEntry.id)]
    assert actions == ["POST /models", "POST /models", "DELETE /models/{name:path}"]


def test_model_in_use_is_not_deleted(service: Service, files: Files) -> None:
    """An unfinished job keeps it; an adapter of a finished one asks for force; a job on a deleted one is told."""
    assert add(service, tar_of(files)).status_code == 201
    job = service.submit(base_model="mine")
    assert service.client.get("/models/mine").json()["used_by"] == {"unfinished": [job["id"]], "finished": []}
    for force in ("false", "true"):
        answer = service.client.delete("/models/mine", params={"force": force})
        assert (answer.status_code, error_of(answer.json())["code"]) == (409, "model_in_use")
        assert job["id"] in answer.text
    run_job(service, job["id"])
    finish(service, job["id"], b"PK")
    assert service.client.get("/models/mine").json()["used_by"] == {"unfinished": [], "finished": [job["id"]]}
    answer = service.client.delete("/models/mine")
    error = error_of(answer.json())
    assert (answer.status_code, error["code"], error["param"]) == (409, "model_needed", "force")
    assert job["id"] in error["message"]
    assert service.client.delete("/models/mine?force=true").status_code == 204
    operators = service.client.delete(f"/models/{MODEL}")
    assert (operators.status_code, error_of(operators.json())["code"]) == (409, "operators_model")


def test_worker_doctor_and_backup_find_the_folder(service: Service, files: Files, tmp_path: Path) -> None:
    """Seen to fail: with `files.model` in the worker's request, its run misses the model."""
    model = add(service, tar_of(files)).json()
    job = service.submit(base_model="mine")
    (folder,) = service.settings.files.added_models.iterdir()
    with service.db.read() as session:
        row = session.get_one(Job, job["id"])
        assert build_request(service.db, row, service.settings).model == str(folder)
    assert next(check_models(service.settings, service.db)).state == "ok"
    fresh = Settings(home=tmp_path / "fresh")
    restore(fresh, backup(service.settings, tmp_path / "b.tar").path)
    with running(fresh) as restored:
        assert restored.client.get("/models/mine").json()["sha256"] == model["sha256"]
        assert restored.client.post("/jobs?dry_run=true", json=job["spec"]).status_code == 200
    without_models = Settings(home=tmp_path / "without")
    restore(without_models, backup(service.settings, tmp_path / "w.tar", models=False).path)
    db = Database(without_models.resolved_database_url)
    found = next(check_models(without_models, db))
    db.close()
    assert (found.state, found.message.partition(":")[0]) == ("warning", "mine")


def test_submit_after_a_deletion_is_refused(service: Service, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model goes between the plan and the insert.

    Seen to fail: without `lock_model` the job is queued, and its run misses the folder.
    """
    assert add(service, tar_of(files)).status_code == 201
    spec = service.spec(base_model="mine")
    real = jobs.create

    def created_after_deletion(*arguments: Any) -> Any:
        assert service.client.delete("/models/mine").status_code == 204
        return real(*arguments)

    monkeypatch.setattr(jobs, "create", created_after_deletion)
    answer = service.client.post("/jobs", json=spec)
    assert (answer.status_code, error_of(answer.json())["code"]) == (422, "unknown_model")


def test_host_that_lacks_the_model_fetches_it_from_the_store(settings: Settings, files: Files, tmp_path: Path) -> None:
    """Added at one host, known at the other without a byte of it, fetched whole once it is read, deleted for both.

    Seen to fail: without `record` in `place`, the other host misses the folder.
    """
    first = settings.model_copy(update={"storage_url": f"file://{tmp_path}/shared"})
    with running(first) as own:
        second = first.model_copy(update={"home": tmp_path / "b", "database_url": first.resolved_database_url})
        second.resolved_home.mkdir()
        second.files.api_key.write_text(first.files.api_key.read_text())
        with running(second) as other:
            assert add(own, tar_of(files), "org/mine").status_code == 201
            assert other.client.get("/models/org/mine").json()["problem"] is None
            job = other.submit(base_model="org/mine")
            with other.db.read() as session:
                request = build_request(other.db, session.get_one(Job, job["id"]), second)
            folder = Path(request.model)
            assert folder.parent == second.files.added_models
            assert not folder.exists()
            assert files_of(other.context.host_files.local(folder)) == files
            (folder / "config.json").write_text("{}")
            assert files_of(other.context.host_files.local(folder, verify=True)) == files
            other.client.post(f"/jobs/{job['id']}/cancel")
            assert other.client.delete("/models/org/mine").status_code == 204
            assert not folder.exists()
            assert [path for path in (tmp_path / "shared").rglob("*model_*") if path.is_file()] == []


def test_form_is_refused_with_the_way_to_send_it(empty: Service, files: Files) -> None:
    answer = empty.client.post("/models", params={"name": "mine"}, files={"file": ("model.tar", tar_of(files))})
    error = error_of(answer.json())
    assert (answer.status_code, error["code"]) == (422, "form_not_accepted")
    assert "curl -T" in error["message"]


def test_abandoned_folder_is_removed_at_the_next_start(settings: Settings) -> None:
    """What a killed process leaves, and not what a living one fills.

    Seen to fail: without the lock, both are removed.
    """
    home = settings.files
    with model_folder.partial_folder(home, "model_living") as living:
        (living / "model.safetensors").write_bytes(b"x")
        dead = home.added_model_partial("model_dead")
        dead.mkdir()
        (dead / "model.safetensors").write_bytes(b"x")
        home.added_model_lock("model_dead").touch()
        with running(settings):
            assert {path.name for path in home.added_models.iterdir()} == {"model_living.partial", "model_living.lock"}
    assert list(home.added_models.iterdir()) == []
