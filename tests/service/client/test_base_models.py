"""Base models through client and command line, against a real service: sent while packed, again for nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.cli.app import app
from service.client import ApiError, Client, model_tar
from service.keys.service import own_key
from service.shared import model_selection
from service.shared.settings import Settings
from tests.security.support import served
from tests.service.base_models.archives import files_of, tar_of
from tests.service.support import MODEL, running

pytestmark = pytest.mark.slow


@pytest.fixture
def client(settings: Settings, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of a service with the operator's model in its folder."""
    shutil.copytree(tiny_model, settings.files.model(MODEL))
    with running(settings) as service, served(service.app) as address:
        monkeypatch.setenv("ADAMSS_URL", address)
        monkeypatch.setenv("ADAMSS_API_KEY", own_key(settings) or "")
        with Client() as client:
            yield client


def adamss(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["models", *arguments])


def test_selection_is_the_services() -> None:
    """The client has a copy, as it imports nothing else of ours."""
    assert model_tar.WANTED == model_selection.WANTED
    assert set(model_tar.UNWANTED) | {"*/*"} == set(model_selection.UNWANTED)


def test_folder_is_packed_while_it_is_sent(client: Client, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny_model, folder)
    for name in ("pytorch_model.bin", "modeling_mine.py", "README.md"):
        (folder / name).write_text("stays behind")
    (folder / "special.txt").symlink_to(tiny_model / "tokenizer_config.json")  # as in the hub's cache
    sent: list[tuple[int, int]] = []
    model = client.add_model(folder, on_progress=lambda *numbers: sent.append(numbers))
    assert (model["name"], model["created"], model.get("left_out")) == ("mine", True, [])
    assert {file["name"] for file in model["files"]} == {*files_of(tiny_model), "special.txt"}
    assert sent[-1][0] == sent[-1][1]
    assert [done for done, _ in sent] == sorted(done for done, _ in sent)
    sent.clear()
    assert client.add_model(folder, on_progress=lambda *numbers: sent.append(numbers))["created"] is False
    assert sent == []
    (folder / "special.txt").unlink()
    with pytest.raises(ApiError, match="adamss models delete mine") as caught:
        client.add_model(folder)
    assert (caught.value.status, caught.value.code) == (409, "model_exists")
    client.delete_model("mine")
    assert [one["name"] for one in client.models()] == [MODEL]


def test_folder_that_is_no_model_is_not_sent(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ApiError, match=r"config\.json"):
        client.add_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("a pickle")
    with pytest.raises(ApiError, match="safe_serialization=True"):
        client.add_model(tmp_path)


def test_commands(client: Client, tiny_model: Path, tmp_path: Path) -> None:
    archive = tmp_path / "mine.tar"
    archive.write_bytes(tar_of(files_of(tiny_model)))
    added = adamss("add", str(archive))
    assert added.exit_code == 0, added.output
    assert added.output.startswith("mine added: ")
    assert "text-classification" in added.output
    assert adamss("add", str(tiny_model), "--name", "mine").output.startswith("mine is here: ")
    lines = {line.split("\t")[0]: line.split("\t") for line in adamss().output.splitlines()}
    assert (lines["mine"][4], lines[MODEL][4]) == ("upload", "folder")
    assert lines["mine"][3].endswith("KB")
    assert adamss("list").output == adamss().output
    shown = adamss("show", "mine").output
    assert "model.safetensors" in shown
    assert json.loads(adamss("show", "mine", "--json").output)["used_by"] == {"unfinished": [], "finished": []}
    assert adamss("delete", "mine").output == "deleted mine\n"


def refusal(*arguments: str) -> Any:
    return adamss(*arguments).exception


def test_wrong_arguments_name_the_remedy(client: Client, tiny_model: Path) -> None:
    assert "ORGANISATION/NAME" in str(refusal("add", "no-such-folder"))
    assert "ORGANISATION/NAME" in str(refusal("add", "./no-such/folder"))
    assert "--revision" in str(refusal("add", str(tiny_model), "--revision", "main"))
    assert "operator" in str(refusal("delete", MODEL))
    assert "no model 'absent'" in str(refusal("show", "absent"))
