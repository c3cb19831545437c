"""A tiny real base model, a service with a home folder of its own, and what tests ask of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies import models as dependants
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from adamss_core.spec import SPEC_VERSION
from service.base_models import repository as base_models
from service.base_models.service import folder_version
from service.http.app import create_app
from service.http.context import Context
from service.keys.service import own_key
from service.shared.database.engine import Database
from service.shared.database.tables import Artifact, Dataset, Event, Job, JobStatus, MetricRow, SubspaceMap, Worker, now
from service.shared.ids import new_id
from service.shared.jobs import states
from service.shared.settings import Settings
from tests.databases import make_database
from tests.processes import FORKSERVER, READERS

BASE_URL = "http://127.0.0.1:8642"
MODEL = "tiny"
ATTENTION = [f"bert.encoder.layer.{layer}.attention.self.{name}" for layer in (0, 1) for name in ("query", "value")]


def build_model(folder: Path) -> Path:
    """A BERT of 2 layers and 32 dimensions with a word tokenizer: config, weights and tokenizer files."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "plot"]
    config = BertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        vocab_size=len(words),
        max_position_embeddings=64,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return folder


@dataclass
class Service:
    """A running app with a client that is signed in."""

    app: FastAPI
    client: TestClient
    settings: Settings

    @property
    def context(self) -> Context:
        context: Context = self.app.state.context
        return context

    @property
    def db(self) -> Database:
        return self.context.db

    def upload(self, content: str | bytes, name: str = "rows.csv") -> dict[str, Any]:
        response = self.client.post("/datasets", params={"new": "true"}, files={"file": (name, content)})
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def add_rows(self) -> str:
        """Add the rows that most specs are for; they are uploaded once for a whole run, and copied afterwards: reading
        them again for each of 400 jobs takes two minutes."""
        return _copy(self) if _UPLOADED else _keep(self, self.upload(rows())["id"])

    def submit(self, **changes: Any) -> dict[str, Any]:
        response = self.client.post("/jobs", json=self.spec(**changes))
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def spec(self, **changes: Any) -> dict[str, Any]:
        """A spec that works, on rows that are uploaded for it; dicts in `changes` are merged into it."""
        spec: dict[str, Any] = {
            "name": "reviews",
            "base_model": MODEL,
            "adamss": {"target_modules": ["query", "value"]},
        }
        if "dataset" not in changes or "train" not in changes["dataset"]:
            spec["dataset"] = {"train": self.add_rows()}
        for name, value in changes.items():
            spec[name] = {**spec.get(name, {}), **value} if isinstance(value, dict) else value
        return spec

    def refused(self, status: int = 422, **changes: Any) -> dict[str, Any]:
        """The error that a spec is refused with; nothing is created."""
        spec = self.spec(**changes)
        before = self.client.get("/jobs").json()["data"]
        response = self.client.post("/jobs", json=spec)
        assert response.status_code == status, response.text
        assert self.client.get("/jobs").json()["data"] == before
        return error_of(response.json())

    def key_for(self, project: str) -> str:
        from service.keys.service import create_key

        with self.db.write() as session:
            return create_key(session, "test", project).key


_UPLOADED: dict[str, Any] = {}  # the row, and "files": the content of its files by their suffix


def _keep(service: Service, dataset_id: str) -> str:
    with service.db.read() as session:
        row = session.get_one(Dataset, dataset_id)
        _UPLOADED.update({column.name: getattr(row, column.name) for column in Dataset.__table__.columns})
    files = service.settings.files
    paths = (files.dataset_rows(dataset_id), files.dataset_hashes(dataset_id))
    _UPLOADED["files"] = {path.suffix: path.read_bytes() for path in paths if path.exists()}
    return dataset_id


def _copy(service: Service) -> str:
    dataset_id = new_id("ds")
    for suffix, content in _UPLOADED["files"].items():
        (service.settings.files.datasets / f"{dataset_id}{suffix}").write_bytes(content)
    row = {name: value for name, value in _UPLOADED.items() if name != "files"}
    with service.db.write() as session:
        session.add(Dataset(**row | {"id": dataset_id, "created_at": now()}))
    return dataset_id


@contextmanager
def running(settings: Settings, facts: dict[str, Any] | None = None) -> Iterator[Service]:
    """Starts an app; with `facts`, what the real inspection found out about the tiny model is known already."""
    if settings.database_url is None:
        make_database(settings)
    app = create_app(settings, FORKSERVER, READERS)
    with TestClient(app, base_url=BASE_URL, raise_server_exceptions=False) as client:
        key = own_key(settings)
        assert key is not None
        client.headers["authorization"] = f"Bearer {key}"
        service = Service(app, client, settings)
        if facts is not None:
            with service.db.write() as session:
                folder = settings.files.model(MODEL)
                base_models.keep(session, MODEL, folder_version(folder), facts)
        yield service
    _forget_routes()


def _forget_routes() -> None:
    """Empty FastAPI's caches, which hold up to 4,096 endpoints and with them every app of a run: after 120 apps
    a million objects, for which the garbage collector takes a second each time."""
    for function in vars(dependants).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


def copy_model(source: Path, settings: Settings) -> None:
    """Keep its times, and so its version."""
    shutil.copytree(source, settings.files.model(MODEL))


def error_of(answer: dict[str, Any]) -> dict[str, Any]:
    """The body of an error, which always has the same four fields, and lists further errors where there are any."""
    assert set(answer) == {"error"}
    error: dict[str, Any] = answer["error"]
    assert set(error) - {"also"} == {"type", "code", "message", "param"}
    assert "also" not in error or error["also"]
    assert all(set(further) == {"code", "message", "param"} for further in error.get("also", ()))
    return error


def rows(count: int = 40, labels: int = 2) -> str:
    lines = [f"a good film no {number},label{number % labels}" for number in range(count)]
    return "\n".join(["text,label", *lines]) + "\n"


def beside_few_rows(warnings: list[str]) -> list[str]:
    """Leave out the warning that only 4 of `rows()` are held out."""
    return [warning for warning in warnings if not warning.startswith("Only 4 rows are evaluated")]


def jsonl(*items: Any) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


def add_worker(session: Session) -> None:
    """Adds a worker that understands all specs and has died since; without its row only old specs are claimed."""
    past = now() - timedelta(hours=1)
    known = {"host": "host", "pid": 1, "devices": [], "spec_version": SPEC_VERSION}
    session.merge(Worker(id="worker-1", started_at=past, seen_at=past, **known))
    session.flush()


def run_job(service: Service, job_id: str) -> int:
    """Claims a job as a worker would that has died since; returns its attempt."""
    with service.db.write() as session:
        add_worker(session)
        job = states.claim(session, job_id, "worker-1", 60.0)
        assert job is not None
        return job.attempt


def report_metrics(
    service: Service, job_id: str, values: list[dict[str, float]], kind: str = "train", first: int = 1
) -> None:
    """Adds one row a step, as a worker would."""
    with service.db.write() as session:
        job = session.get_one(Job, job_id)
        for place, value in enumerate(values, start=first):
            job.last_seq += 1
            session.add(
                MetricRow(
                    job_id=job_id,
                    seq=job.last_seq,
                    attempt=1,
                    kind=kind,
                    step=place,
                    epoch=place / 10,
                    time=now(),
                    values=value,
                )
            )


def report_map(service: Service, job_id: str, step: int, active: int) -> None:
    subspaces = [
        {"index": k, "rows": 8, "rank": 1, "importance": 0.5, "active": k < active, "pruned_at": None} for k in range(4)
    ]
    summary = {
        "adapter": "default",
        "total": 4,
        "active": active,
        "target": 2,
        "trainable_parameters": 100,
        "modules": {ATTENTION[0]: subspaces},
        "schedule": [{"step": step, "wanted": active, "reached": active}],
    }
    with service.db.write() as session:
        job = session.get_one(Job, job_id)
        job.last_seq += 1
        session.add(SubspaceMap(job_id=job_id, step=step, attempt=1, seq=job.last_seq, summary=summary))


def finish(service: Service, job_id: str, content: bytes) -> str:
    """Ends a claimed job with one artifact; returns the artifact's sha256."""
    import hashlib

    folder = service.settings.files.job_artifacts(job_id)
    folder.mkdir()
    (folder / "lora.zip").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with service.db.write() as session:
        assert states.succeed(session, job_id, 1, {"eval_accuracy": 0.9})
        session.add(
            Artifact(
                job_id=job_id,
                name="lora",
                path=f"artifacts/{job_id}/lora.zip",
                size_bytes=len(content),
                sha256=digest,
                manifest={"format": "adamss-lora"},
                created_at=now(),
            )
        )
    return digest


def events_of(service: Service, job_id: str) -> list[str]:
    with service.db.read() as session:
        from sqlalchemy import select

        return list(session.scalars(select(Event.type).where(Event.job_id == job_id).order_by(Event.seq)))


def status_of(service: Service, job_id: str) -> JobStatus:
    with service.db.read() as session:
        return session.get_one(Job, job_id).status
