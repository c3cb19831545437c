"""One service with one finished job, and a browser that is signed in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from service.cli.serve import free_port
from service.keys.sessions import make_link
from service.shared.database.engine import Database
from service.shared.settings import Settings
from tests.adamss_core.training.chats import build_llama, chats, generation_job
from tests.browser import chromium
from tests.e2e.conftest import ROOT, Up, wait_ready
from tests.service.support import MODEL, build_model, rows

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

SECONDS = 120.0
SPEC: dict[str, Any] = {
    "name": "pruned",
    "base_model": MODEL,
    "adamss": {
        "num_subspaces": 4,
        "target_modules": ["query", "value"],
        "basis": "inputs",
        "use_asa": True,
        "asa_target_subspaces": 6,
        "init_warmup": 4,
        "final_warmup": 20,
        "mask_interval": 4,
    },
    "training": {"epochs": 3, "batch_size": 4, "logging_steps": 1, "eval_steps": 10},
    "artifacts": ["lora"],
    "compare": ["head", "lora:r=1"],
}


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = tmp_path_factory.mktemp("browser") / "home"
    build_model(home / "models" / MODEL)
    data = home.parent / "rows.csv"
    data.write_text(rows(40))
    port = free_port("127.0.0.1")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
    environ |= {"ADAMSS_HOME": str(home), "ADAMSS_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    environ["ADAMSS_LENGTH_SAMPLE"] = "0"
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "service.cli", "up"]
    process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL, text=True)
    service = Up(f"http://127.0.0.1:{port}", home, environ, data)
    try:
        wait_ready(service, process)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)


@pytest.fixture(scope="session")
def job(up: Up) -> dict[str, Any]:
    """Run a job that prunes and succeeds."""
    with up.client() as client:
        dataset = client.upload_dataset(up.rows)
        made = client.submit({**SPEC, "dataset": {"train": dataset["id"], "eval_fraction": 0.2}})
        done = client.wait(made["id"], timeout=SECONDS)
        assert done["status"] == "succeeded", done["error"]
        return dict(done)


@pytest.fixture(scope="session")
def chat_job(up: Up) -> dict[str, Any]:
    """Train a small language model on chats, without pruning."""
    build_llama(up.home / "models" / "tiny-llama")
    file = up.home.parent / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in chats(40)))
    with up.client() as client:
        dataset = client.upload_dataset(file)["id"]
        spec = generation_job(training={"epochs": 1, "logging_steps": 1}).model_dump(mode="json", exclude_unset=True)
        made = client.submit({**spec, "dataset": {"train": dataset, "eval_fraction": 0.1}})
        done = client.wait(made["id"], timeout=SECONDS)
        assert done["status"] == "succeeded", done["error"]
        return dict(done)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Launch a browser per file: Playwright's event loop would otherwise outlive it and block other tests' loops."""
    path = chromium.find()
    if path is None:
        pytest.skip(chromium.MISSING)
    with chromium.launched(path) as browser:
        yield browser


@dataclass
class Tab:
    """A page of the browser, with its console errors."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, view: str) -> None:
        """Open a view, such as /jobs/..., and wait for its heading."""
        self.page.goto(f"{self.url}/#{view}")
        self.page.wait_for_selector("main h1")
        self.page.wait_for_load_state("networkidle")

    def note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


def new_link(up: Up) -> str:
    """Make a sign-in link as `adamss link` does, without a process of its own."""
    settings = Settings(home=up.home, port=int(up.url.rpartition(":")[2]))
    db = Database(settings.resolved_database_url)
    with db.write() as session:
        link = make_link(session, settings)
    db.close()
    assert link is not None
    return link


@pytest.fixture
def tab(browser: Browser, up: Up) -> Iterator[Tab]:
    """Open a fresh tab, signed in by the link; fail the test on an error of the browser."""
    context = browser.new_context()
    context.set_default_timeout(SECONDS * 1000)
    tab = Tab(context.new_page(), up.url)
    tab.page.on("console", tab.note)
    tab.page.on("dialog", lambda dialog: dialog.accept())  # confirms irreversible actions
    tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.page.goto(new_link(up))
    tab.page.wait_for_url(f"{up.url}/")  # the link's page sends its code on by itself
    yield tab
    context.close()
    assert tab.complaints == []
