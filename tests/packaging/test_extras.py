"""The built wheel, installed with each of its extras: what is declared suffices, and no more than that is needed.

Each environment is a fresh one that sees only the distributions that the wheel's metadata asks for, linked from this
one, so that no download is needed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.models import tiny_bert

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


@dataclass(frozen=True)
class Installed:
    """A fresh environment with the wheel and an extra."""

    python: Path
    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in an empty folder, without this checkout on its path."""
        environment = {"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return subprocess.run(
            [self.python, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def adamss(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("-P", "-m", "service.cli", *arguments)

    def evaluate(self, code: str) -> object:
        """Run code that prints JSON."""
        done = self.run("-P", "-c", code)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it would be published, built from the files under version control."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    packages = ("adamss_core/", "service/", "worker/", "migrations/", "pyproject.toml", "README.md", "LICENSE")
    for name in filter(None, listed.split("\0")):
        if name.startswith(packages) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def needs(requirements: list[str], extra: str) -> set[str]:
    """Names of all distributions that requirements ask for, directly or not."""
    names: set[str] = set()
    pending = [(Requirement(line), extra) for line in requirements]
    while pending:
        wanted, extra_of_parent = pending.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra_of_parent}):
            continue
        name = canonicalize_name(wanted.name)
        if name == "adamss":  # an extra that includes another one
            pending += [(Requirement(line), inner) for inner in wanted.extras for line in requirements]
            continue
        extras = {"", *wanted.extras}
        if name not in names or wanted.extras:
            names.add(name)
            for line in distribution(name).requires or []:
                pending += [(Requirement(line), inner) for inner in extras]
    return names


def install(wheel: Path, extra: str, folder: Path) -> Installed:
    """Make an environment with the wheel and what it asks for."""
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    requirements = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    for name in needs(requirements, extra):
        for file in distribution(name).files or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    (folder / "work").mkdir()
    return Installed(folder / "venv" / "bin" / "python", folder / "work")


def test_alone_it_is_client_and_command_line(wheel: Path, tmp_path: Path) -> None:
    plain = install(wheel, "", tmp_path)
    absent = ["torch", "transformers", "sqlalchemy", "fastapi", "celery", "sklearn"]
    found = f"import json, importlib.util as u; print(json.dumps([n for n in {absent} if u.find_spec(n)]))"
    assert plain.evaluate(found) == []
    assert plain.adamss("--help").returncode == 0
    assert plain.adamss("init", "spec.yaml").returncode == 0
    assert plain.evaluate("import json; from service.client import Client; print(json.dumps(Client().url))")
    listed = plain.adamss("jobs", "list")
    assert listed.returncode == 3, listed.stderr
    assert "adamss up" in listed.stderr


@pytest.mark.parametrize("command", [["up"], ["api"], ["doctor"], ["keys", "list"], ["backup", "a.tar"], ["audit"]])
def test_a_command_of_the_service_names_its_extra(plain: Installed, command: list[str]) -> None:
    done = plain.adamss(*command)
    assert done.returncode == 2
    assert 'pip install "adamss[service]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_the_library_names_its_extra(plain: Installed) -> None:
    done = plain.run("-P", "-c", "from adamss_core import get_adamss_model")
    assert done.returncode == 1
    assert 'pip install "adamss[core]"' in done.stderr


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(wheel, "", tmp_path_factory.mktemp("plain"))


@pytest.mark.compat
def test_core_is_the_library(wheel: Path, tmp_path: Path) -> None:
    core = install(wheel, "core", tmp_path)
    tiny_bert().save_pretrained(core.folder / "base")
    code = """
import importlib.util, json
import torch
from peft import AdamssConfig
from transformers import AutoModelForSequenceClassification as Classifier
from adamss_core import export_lora, get_adamss_model, load_adapter, save_adapter
config = AdamssConfig(target_modules=["query"], r=4, num_subspaces=2, task_type="SEQ_CLS")
model = get_adamss_model(Classifier.from_pretrained("base"), config)
for parameter in (p for p in model.parameters() if p.requires_grad):
    torch.nn.init.normal_(parameter)
save_adapter(model, "adapter")
export_lora(load_adapter(Classifier.from_pretrained("base"), "adapter"), "lora")
print(json.dumps([name for name in ("sqlalchemy", "fastapi", "celery") if importlib.util.find_spec(name)]))
"""
    assert core.evaluate(code) == []
    assert (core.folder / "lora" / "adapter_config.json").is_file()


@pytest.mark.compat
def test_service_is_api_and_worker(wheel: Path, tmp_path: Path) -> None:
    service = install(wheel, "service", tmp_path)
    code = """
import json
from fastapi import FastAPI
import worker.main, worker.training_process, adamss_core.training.tasks.image_classification
from service.http.app import create_app, start, stop
from service.shared.settings import Settings
stop(start(Settings()))
print(json.dumps(isinstance(create_app(), FastAPI)))
"""
    assert service.evaluate(code) is True
    shown = service.adamss("doctor", "--json")
    assert {"check": "versions", "state": "ok"}.items() <= json.loads(shown.stdout)[0].items(), shown.stdout


@pytest.mark.compat
def test_the_bill_of_materials_has_what_the_service_installs(wheel: Path, tmp_path: Path) -> None:
    """The command of `make release`, on an environment as it makes one."""
    service = install(wheel, "service", tmp_path)
    bill = tmp_path / "sbom.cdx.json"
    line = re.search(r"^SBOM := \$\(BIN\)/(.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line is not None
    program, *words = line[1].split()
    tool = Path(sys.executable).parent / program
    subprocess.run([tool, *words, "-o", bill, service.python], cwd=ROOT, check=True, capture_output=True)
    content = json.loads(bill.read_text())
    listed = {part["name"].lower().replace("_", "-"): part for part in content["components"]}
    assert content["bomFormat"] == "CycloneDX"
    assert content["metadata"]["component"]["name"] == "adamss"
    assert {"torch", "sqlalchemy", "fastapi", "peft"} <= set(listed)
    assert not {"pytest", "mypy", "schemathesis"} & set(listed)
    assert listed["torch"]["version"] == version("torch")
    assert listed["torch"]["licenses"]
