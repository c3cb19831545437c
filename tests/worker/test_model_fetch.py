"""A base model of the hub is fetched by a process of its own, which alone has the hub's token."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from service.shared.database.tables import JobStatus
from service.shared.processes.environment import for_hub, for_libraries, needs_token
from service.shared.processes.spawned_process import python
from service.shared.processes.subprocesses import model_environment
from tests.worker.support import Service, scaled_settings, wait_for
from worker.hub_fetch import FETCH, has_weights

COMMIT = "c" * 40
MODEL = "org/gated"
TOKEN = "hf_canary"
FILES = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"pickle", "onnx/a.json": b"{}"}


@contextmanager
def gated_hub() -> Iterator[str]:
    """Serves one model to holders of the token; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.partition("/resolve/")[2].partition("/")[2]
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                self._send(b"{}", 401, {"x-error-code": "GatedRepo", "x-error-message": "Access is restricted."})
            elif self.path.startswith(f"/api/models/{MODEL}"):
                siblings = [{"rfilename": name} for name in FILES]
                self._send(json.dumps({"id": MODEL, "sha": COMMIT, "siblings": siblings}).encode())
            elif name in FILES:
                self._send(FILES[name])
            else:
                self._send(b"{}", 404)

        def _send(self, content: bytes, status: int = 200, more: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            headers = {"content-length": str(len(content)), "etag": '"e"', "x-repo-commit": COMMIT, **(more or {})}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_token_goes_to_processes_that_fetch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: with the token among what every library gets."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert TOKEN in for_hub(os.environ).values()
    assert TOKEN in model_environment(offline=False, fetches=True).values()
    for environment in (
        for_libraries(os.environ),
        model_environment(offline=False),
        model_environment(offline=True, fetches=True),
    ):
        assert TOKEN not in environment.values()
    assert needs_token(os.environ)
    assert not needs_token({"HF_TOKEN": ""})
    assert not needs_token({"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1"})


def test_model_is_fetched_with_the_token_or_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Config and weights, no pickle and no subfolder; a second time from the cache, also without the hub."""
    (tmp_path / "job").mkdir()
    command = python(FETCH, str(tmp_path / "job"), MODEL)
    quiet = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}

    def fetch(**more: str) -> subprocess.CompletedProcess[str]:
        environment = quiet | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"} | more
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    with gated_hub() as address:
        refused = fetch(HF_ENDPOINT=address)
        assert refused.returncode == 1
        assert refused.stderr.strip().splitlines()[-1].startswith("The base model could not be fetched from the hub")
        done = fetch(HF_ENDPOINT=address, HF_TOKEN=TOKEN)
        assert done.returncode == 0, done.stderr
    snapshots = tmp_path / "hf" / "hub" / "models--org--gated" / "snapshots"
    assert {path.name for path in snapshots.rglob("*") if path.is_file()} == {"config.json", "model.safetensors"}
    assert (tmp_path / "job" / "alive").exists()
    assert fetch(HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN=TOKEN).returncode == 0
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    assert has_weights(MODEL, None)
    index = next(snapshots.iterdir()) / "model.safetensors.index.json"
    (index.parent / "model.safetensors").rename(index.parent / "model-1.safetensors")
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}))
    assert not has_weights(MODEL, None), "a shard is missing"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert has_weights(MODEL, None)


def test_failed_fetch_fails_the_job_before_it_trains(tmp_path: Path) -> None:
    """The job's error quotes the fetch, and no training process was started."""
    service = Service(scaled_settings(tmp_path / "home"))
    job_id = service.add_job("steps=3", retries=0, base_model=MODEL)
    environment = {"HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    with service.worker(**environment, HF_HOME=str(tmp_path / "hf")):
        job = wait_for(service, job_id, JobStatus.FAILED, seconds=60)
    begun = [event.data for event in service.events(job_id) if event.type == "phase"]
    service.db.close()
    assert job.error is not None
    assert "could not be fetched from the hub" in job.error["message"]
    assert begun == [{"phase": "fetching_model", "source": "hub"}]
    assert service.metrics(job_id) == []
