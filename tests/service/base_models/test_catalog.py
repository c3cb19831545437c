"""Which models there are, what is known of them, and which are refused; with the real inspection."""

from __future__ import annotations

import json
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy.orm import Session

from service.base_models import inspection, repository
from service.base_models.service import Catalog
from service.shared.database.tables import InspectedModel, now
from service.shared.errors import Unavailable
from service.shared.processes.forkserver import ForkServer
from service.shared.settings import Settings
from service.shared.storage.host_files import open_host_files
from service.shared.storage.pairing import open_database
from tests.processes import FORKSERVER, Scripted
from tests.service.support import MODEL, Service, copy_model, rows, running

pytestmark = pytest.mark.slow


def test_the_inspection_says_what_the_plan_needs(tiny_facts: dict[str, Any]) -> None:
    assert tiny_facts["model_type"] == "bert"
    assert tiny_facts["has_tokenizer"] is True
    assert tiny_facts["max_positions"] == 64
    assert "text-classification" in tiny_facts["tasks"]


def test_models_are_listed_with_what_is_known(service: Service) -> None:
    listed = service.client.get("/models").json()
    (model,) = listed["data"]
    assert (model["name"], model["model_type"], model["problem"]) == (MODEL, "bert", None)
    assert model["parameters"] > 10_000
    assert model["tasks"] == ["text-classification", "token-classification"]


def test_facts_are_found_out_once_and_again_when_the_folder_changes(
    settings: Settings, tiny_model: Path, tiny_facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_model(tiny_model, settings)
    calls = []
    real = inspection.inspect

    def counted(forkserver: ForkServer, model: str, revision: str | None, *, local: bool) -> dict[str, Any]:
        calls.append(model)
        return real(forkserver, model, revision, local=local)

    monkeypatch.setattr(inspection, "inspect", counted)
    with running(settings, tiny_facts) as service:
        spec = service.spec()
        assert service.client.post("/jobs?dry_run=true", json=spec).status_code == 200
        assert calls == []
        config = settings.files.model(MODEL) / "config.json"
        config.write_text("{}")
        for _ in range(2):
            response = service.client.post("/jobs?dry_run=true", json=spec)
            assert response.status_code == 422
            assert response.json()["error"]["param"] == "base_model"
        assert service.client.get("/models").json()["data"][0]["problem"]
        assert len(calls) == 1


def test_unreadable_folders_are_listed_with_their_reason(
    settings: Settings, tiny_model: Path, tiny_facts: dict[str, Any]
) -> None:
    """JSON of any depth, a link into nowhere, a tokenizer that is a folder: each is its own folder's problem.

    Seen to fail: without RecursionError in `_model_type` and `_readable_version`, `/models` is a 500.
    """
    copy_model(tiny_model, settings)
    for name in ("deep", "link"):
        settings.files.model(name).mkdir()
    (settings.files.model("deep") / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    (settings.files.model("link") / "config.json").write_text("{}")
    (settings.files.model("link") / "tokenizer.json").symlink_to("nowhere")
    with running(settings, tiny_facts) as service:
        problems = {model["name"]: model["problem"] for model in service.client.get("/models").json()["data"]}
        assert problems[MODEL] is None
        assert "config.json" in problems["deep"]
        assert "No such file" in problems["link"]
        error = service.refused(base_model="link")
        assert (error["code"], error["param"]) == ("model_unusable", "base_model")


def test_hub_models_only_where_they_are_allowed(settings: Settings) -> None:
    with running(settings.model_copy(update={"allow_hub": False, "hub_models": ["org/listed"]})) as service:
        error = service.refused(base_model="org/other")
        assert (error["code"], error["param"]) == ("model_not_allowed", "base_model")
        assert "'org/listed'" in error["message"]


def test_a_slow_inspection_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    monkeypatch.setattr(inspection, "SECONDS", 1.5)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="longer than"):
        inspection.inspect(Scripted(script), "tiny", None, local=True)
    assert time.monotonic() - began < 10
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_the_child_sees_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMSS_API_KEY", "canary")
    monkeypatch.setenv("ADAMSS_DATABASE_URL", "canary")
    script = "import json, os; open('answer.json', 'w').write(json.dumps({'env': dict(os.environ)}))"
    answer = inspection.inspect(Scripted(script), "tiny", None, local=True)
    assert "canary" not in json.dumps(answer)
    assert answer["env"]["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    "script", ["open('answer.json', 'w').write('not json')", "raise SystemExit(1)", "import os; os.abort()"]
)
def test_a_broken_inspection_is_not_the_callers_fault(script: str) -> None:
    with pytest.raises(Unavailable):
        inspection.inspect(Scripted(script), "tiny", None, local=True)


def test_folders_that_are_no_models_are_not_listed(settings: Settings) -> None:
    models = settings.files.models
    (models / "empty").mkdir()
    (models / ".hidden").mkdir()
    (models / ".hidden" / "config.json").write_text("{}")
    with running(settings) as service:
        assert service.client.get("/models").json()["data"] == []
        dataset = {"train": service.upload(rows())["id"]}
        for name in ("empty", "gpt2"):
            assert service.refused(base_model=name, dataset=dataset)["code"] == "unknown_model"


def test_limits_hold_in_the_child() -> None:
    if os.uname().sysname != "Linux":
        pytest.skip("limits are Linux'")
    script = (
        "import json, resource, time; time.sleep(0.5);"
        "open('answer.json', 'w').write(json.dumps({'cpu': resource.getrlimit(resource.RLIMIT_CPU)[0]}))"
    )
    assert inspection.inspect(Scripted(script), "tiny", None, local=True) == {
        "cpu": inspection.LIMITS[resource.RLIMIT_CPU]
    }


def test_two_api_processes_that_inspect_a_model_at_once(
    settings: Settings, postgres_url: str, tiny_model: Path, tiny_facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail: the slower one answered 500."""
    both = Barrier(2)

    def keep(session: Session, name: str, revision: str, facts: dict[str, Any]) -> None:
        session.add(InspectedModel(name=name, revision=revision, facts=facts, inspected_at=now()))
        both.wait(30)  # neither has seen the other's row

    copy_model(tiny_model, settings)
    monkeypatch.setattr(inspection, "inspect", lambda *_, **__: tiny_facts)
    monkeypatch.setattr(repository, "keep", keep)
    settings = settings.model_copy(update={"database_url": postgres_url})
    databases = [open_database(settings) for _ in range(2)]
    catalogs = [Catalog(settings, db, FORKSERVER, open_host_files(settings, db)) for db in databases]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda catalog: catalog.facts(MODEL, None), catalogs))
    assert found[0] == found[1]
    for db in databases:
        db.close()
