"""The layout of the home folder, and that no other module knows it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import adamss_core
import service
import worker
from service.shared.settings import Settings
from service.shared.storage import home as home_module
from service.shared.storage.home import Home, JobFolder

# Names of the home folder and of a job's folder, each of which stands in one module alone.
HOMES = {Path(home_module.__file__), Path(adamss_core.__file__).parent / "fileio" / "run_folder.py"}
NAMES = {
    "adamss.db", "api_key", "webhook_secret", "datasets", "models", "jobs", "artifacts", "queue", "cache", "logs",
    "run", "devices", "checkpoints", "comparison", "request.json", "outcome.json", "train.log", "reports.jsonl",
    "alive", "step", "lock", "migrate.lock", "home_id", "trash", "requests.db", "metrics", "added_models",
}  # fmt: skip
ALLOWED = {
    ("connection.py", "api_key"),  # the client has nothing of the service's code
    ("process.py", "lock"),  # of a predicting process's own scratch folder
}


def joined_names(path: Path) -> Iterator[str]:
    """Names that a module joins to a path with `/`: literals, the beginnings of f-strings, and its own constants."""
    tree = ast.parse(path.read_text())
    constants = {
        target.id: str(node.value.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)):
            continue
        match node.right:
            case ast.Constant(value=str(text)):
                yield text.split("/")[0]
            case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
                yield text.split("/")[0]
            case ast.Name(id=name) if name in constants:
                yield constants[name]


def test_no_other_module_joins_these_names() -> None:
    """A second home for a path would be missed where files move, such as into an object store."""
    strangers = []
    for package in (adamss_core, service, worker):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            if path not in HOMES:
                strangers += [(path.name, name) for name in joined_names(path) if name in NAMES]
    assert set(strangers) == ALLOWED


def test_no_path_is_derived_from_that_of_the_rows() -> None:
    """Before: the folder of the images was guessed from the file of the rows in three places."""
    for package in (service, worker):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            assert 'with_suffix("")' not in path.read_text(), f"{path.name}: ask Home.dataset_images"


def test_the_names_that_are_looked_for_are_found_at_home() -> None:
    """Guards the search above: with a name misspelt it would find nothing anywhere."""
    source = "".join(path.read_text() for path in HOMES)
    assert [name for name in NAMES if f'"{name}"' not in source] == []


def test_folders_are_made_and_files_are_not(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.datasets.is_dir()
    assert home.queue_messages.is_dir()
    assert not home.database.exists()
    assert not home.job("job_1").path.exists()


@pytest.mark.parametrize("name", ["datasets/ds_1.jsonl", "artifacts/job_1/lora.zip"])
def test_a_name_in_a_row_leads_back_to_its_file(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path)
    assert home.relative(home.resolve(name)) == name


def test_settings_lead_to_the_files(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert settings.files.job("job_1") == JobFolder(tmp_path / "jobs" / "job_1")
    assert settings.resolved_database_url == f"sqlite:///{settings.files.database}"
