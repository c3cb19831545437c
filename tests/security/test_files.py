"""Rows 6 to 11 of the attacks: names and files that are meant to do harm."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from service.base_models import inspection
from service.client.archive import unpack
from service.datasets import convert, service
from service.shared.errors import InvalidRequest
from tests.processes import FORKSERVER
from tests.security import attacks
from tests.security.support import Target, files_below, leaves, memory, operations, paths_of, replaced
from tests.service.support import error_of, rows

SECRET = "canary-of-a-file-outside"


WATCHED = frozenset({"open", "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir"})


class Opened:
    """What this process opens, while one looks. An audit hook cannot be taken away again, so there is one for all."""

    paths: set[str] | None = None
    hooked = False

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.paths is not None and event in (
            "open",
            "os.listdir",
            "os.scandir",
            "os.remove",
            "os.rename",
            "os.mkdir",
        ):
            for argument in arguments[:2]:
                if isinstance(argument, (str, bytes)):
                    cls.paths.add(argument if isinstance(argument, str) else argument.decode(errors="replace"))


@contextmanager
def watching() -> Iterator[set[str]]:
    if not Opened.hooked:
        sys.addaudithook(Opened.hook)
        Opened.hooked = True
    found: set[str] = set()
    Opened.paths = found
    yield found
    Opened.paths = None


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that the service has no business with."""
    path = tmp_path / "secret" / "canary.txt"
    path.parent.mkdir()
    path.write_text(SECRET)
    return path


SCRATCH = "adamss-inspection-"  # folders of the children that measure a model


def outside(opened: set[str], home: Path, secret: Path) -> list[str]:
    """What was opened elsewhere than in the home folder, the interpreter's folders and this checkout."""
    system = [Path(name) for name in (sys.prefix, sys.base_prefix, "/proc", "/dev", "/sys", "/usr", "/etc/mime.types")]
    allowed = [home, Path(__file__).parents[2], *system]
    temporaries = Path(tempfile.gettempdir())
    found = []
    for name in opened:
        if "\0" in name:
            found.append(repr(name))
            continue
        path = Path(name).resolve() if name not in ("r", "w", "rb", "wb") else home
        temporary = path == temporaries or (path.parent == temporaries and path.name.startswith("tmp"))
        temporary |= path.as_posix().startswith(f"{temporaries}/{SCRATCH}")
        if path == secret or not (temporary or any(path.is_relative_to(folder) for folder in allowed)):
            found.append(name)
    return [*found, *(name for name in opened if name in ("/proc/self/environ", "/dev/stdin"))]


AT_A_TIME = 5  # parameters that share the ways of naming a file


def test_06_traversal_in_parameters(session_target: Target, secret: Path) -> None:
    """Every path and query parameter of every call, as the schema names them, with ways of naming a file outside, of
    which five parameters in a row get all: an error, nothing of the file, and nothing outside of the home is opened.

    Seen to fail: with artifacts of any name (`{name:path}`) served as `folder / name`, /proc/self/environ is a 200.
    """
    client, ways = session_target.client("admin"), attacks.traversals(secret)
    home = session_target.service.settings.resolved_home
    turn = 0
    with watching() as opened:
        for path, method, operation in operations(session_target.app):
            if path.endswith("/stream"):
                continue  # its parameters are those of the others, and it does not end
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "header":
                    continue
                turn += 1
                for name in ways[
                    turn % AT_A_TIME :: AT_A_TIME
                ]:  # all of them for each parameter would take half a minute
                    if parameter["in"] == "path" and name.strip(".") == "":
                        continue  # clients resolve these before they send anything
                    filled, query = path, {}
                    for other, value in session_target.ids.items():
                        if parameter["in"] == "query" or other != parameter["name"]:
                            filled = filled.replace(f"{{{other}}}", value)
                    if parameter["in"] == "path":
                        filled = filled.replace(f"{{{parameter['name']}}}", quote(name, safe="%"))
                    else:
                        query = {parameter["name"]: name}
                    answer = client.request(method, filled, params=query)
                    assert answer.status_code < 500, (method, filled, query)
                    assert SECRET not in answer.text
                    if parameter["in"] == "path":
                        assert answer.status_code >= 400, (method, filled)
    assert outside(opened, home, secret) == []


def test_06_mounts_serve_only_their_own_folder(session_target: Target) -> None:
    """Every mount, with the name of every file of the home folder and ways out of the mount's own: nothing is there.

    Seen to fail: with the home folder mounted at /files.
    """
    client, home = session_target.client("admin"), session_target.service.settings.resolved_home
    names = [path.relative_to(home).as_posix() for path in files_below(home)]
    assert "api_key" in names
    mounts = [
        path.removesuffix("/anything.js") for path in paths_of(session_target.app) if path.endswith("anything.js")
    ]
    mounts.append("/static")  # a route, with the page's files
    assert len(mounts) >= 2
    for mount in mounts:
        for name in [*names, *(quote(f"{attacks.UP[:-1]}{home}/{name}", safe="") for name in names[:20])]:
            assert client.get(f"{mount}/{name}").status_code == 404, (mount, name)


def test_06_traversal_in_specs(session_target: Target, secret: Path) -> None:
    """Every field of a job's spec: a path is refused, or is a name like any other, and opens nothing. A model that lies
    elsewhere is there to be found.

    Seen to fail: with a MODEL_NAME that allows everything, the answer tells of the model that lies elsewhere.
    """
    (secret.parent / "config.json").write_text(f'{{"model_type": "{SECRET}"}}')
    client, home = session_target.client("admin"), session_target.service.settings.resolved_home
    spec = client.get(f"/jobs/{session_target.ids['job_id']}").json()["resolved"]["spec"]
    assert client.post("/jobs?dry_run=true", json=spec).status_code == 200
    with watching() as opened:
        ways = [*attacks.traversals(secret)[:3], str(secret.parent), attacks.UP + str(secret.parent)[1:]]
        for place, path in enumerate(leaves(spec)):
            names_something = path[0] in ("base_model", "revision") or path == ("dataset", "train")
            for name in ways if names_something else (ways[place % len(ways)],):
                answer = client.post("/jobs?dry_run=true", json=replaced(spec, path, name))
                assert answer.status_code in (200, 422), (path, name)
                assert SECRET not in answer.text
                if names_something:
                    assert answer.status_code == 422, (path, name)
    assert outside(opened, home, secret) == []


def test_06_traversal_in_uploads(session_target: Target, secret: Path) -> None:
    """File names of uploads, members of zips and their file_name column: nothing lies or is read outside.

    Seen to fail: with `_safe_name` left out.
    """
    client, home = session_target.client("submit"), session_target.service.settings.resolved_home
    before = {path for path in files_below(secret.parents[1]) if home not in path.parents}
    names = attacks.traversals(secret)
    assert not {"/", "\\", "\0", "%"} & set("".join(service._safe_name(name) for name in names))
    uploads = [(name, rows().encode()) for name in names[1:3]]
    uploads += [("images.zip", attacks.zip_with_raw_name(name.encode())) for name in names[:2]]
    metadata = "".join(f"{json.dumps(name)},good\n" for name in (names[0], names[1], "real.png") if "\0" not in name)
    listed = {"metadata.csv": f"file_name,label\n{metadata}".encode(), "real.png": attacks.png()}
    uploads.append(("images.zip", attacks.zip_of(listed)))
    with watching() as opened:
        for name, content in uploads:
            answer = client.post("/datasets", files={"file": (name, content)})
            assert answer.status_code in (201, 400, 422), (name, answer.text)
            assert SECRET not in answer.text
            if answer.status_code == 201:
                dataset = answer.json()
                assert "/" not in dataset["name"]
                assert SECRET not in client.get(f"/datasets/{dataset['id']}/preview").text
                client.delete(f"/datasets/{dataset['id']}")
    assert outside(opened, home, secret) == []
    assert {path for path in files_below(secret.parents[1]) if home not in path.parents} == before


def test_07_links_and_path_traversal_in_zips(session_target: Target, secret: Path, tmp_path: Path) -> None:
    """Uploaded zips with links, and archives that the client unpacks, lead nowhere.

    Seen to fail: without the check of members in `unpack`.
    """
    client = session_target.client("submit")
    answer = client.post("/datasets", files={"file": ("images.zip", attacks.zip_with_link(str(secret)))})
    assert answer.status_code == 422
    assert SECRET not in answer.text
    for place, name in enumerate((attacks.UP + "slip.txt", "/slip.txt", "..\\slip.txt", "C:/slip.txt", "a/../../slip")):
        archive = tmp_path / f"{place}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(name, "slipped")
        with pytest.raises(ValueError, match="leads out"):
            unpack(archive, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


@pytest.fixture
def read_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a stranger's file in the process of the API gets an error."""

    def here(*_: object) -> None:
        raise AssertionError("read in the process of the API")

    monkeypatch.setattr(convert, "open_rows", here)


BOMBS = {  # the first of several limits that each meets
    "rows.csv.gz": "gzip file unpacks to more than the 20,000,000 bytes",
    "twice.csv.gz": "packed twice",
    "rows.parquet": "Parquet or Arrow file unpacks to more than 20,000,000 bytes",
    "images.zip": "over 64,000,000 pixels",
    "zeros.zip": "archive unpacks to 300,000,000 bytes",
    "overlap.zip": "archive unpacks to 300,000,000 bytes",
}


@pytest.mark.usefixtures("read_elsewhere")
def test_07_bombs(session_target: Target) -> None:
    """Gzip, Parquet, zips and images that unpack to a thousand times their size: 413 or 422 by the first limit, and the
    memory of the API stays as it is.

    Seen to fail: with gzip unpacked without its limit, where minutes later the limit on rows answers; with the file
    read in this process.
    """
    unpacked = 300_000_000
    found = attacks.bombs(unpacked)
    with smaller_uploads(session_target, 20_000_000):
        before = memory()
        for name, content in found.items():
            answer = session_target.client("submit").post("/datasets", files={"file": (name, content)})
            assert answer.status_code in (413, 422), (name, answer.text[:300])
            error = error_of(answer.json())
            assert error["param"] == "file"
            assert BOMBS[name] in error["message"]
            assert memory() - before < 50_000_000 + 3 * len(content), name
    assert not list(session_target.service.settings.files.datasets.glob("*.partial"))


@contextmanager
def smaller_uploads(target: Target, size: int) -> Iterator[None]:
    """A limit that makes small bombs large."""
    settings = target.service.settings
    before = settings.max_upload_bytes
    settings.max_upload_bytes = size
    yield
    settings.max_upload_bytes = before


def test_08_pickles_and_remote_code(session_target: Target, tmp_path: Path, tiny_model: Path) -> None:
    """A model's folder with pickled weights, with code of its own and a config that asks for it; a pickle as a data
    set; a pickle in place of an optimizer's state: each is refused and nothing runs.

    Seen to fail: with trust_remote_code=True in the inspection.
    """
    canary = tmp_path / "canary"
    folder = tmp_path / "evil"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(attacks.bait(canary))
    for name in ("modeling.py", "configuration.py", "tokenization.py"):
        (folder / name).write_text(f"open({str(canary)!r}, 'w')\n")
    asks = {
        "AutoConfig": "configuration.Config",
        "AutoModelForSequenceClassification": "modeling.Model",
        "AutoTokenizer": ["tokenization.Tokenizer", None],
    }
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text()) | {"auto_map": asks}
        (folder / name).write_text(json.dumps(content))
    with pytest.raises(InvalidRequest, match="safetensors"):
        inspection.inspect(FORKSERVER, str(folder), None, local=True)
    for name in ("rows.csv", "images.zip"):
        answer = session_target.client("submit").post("/datasets", files={"file": (name, attacks.bait(canary))})
        assert answer.status_code == 422
    assert not canary.exists()


def test_08_checkpoints_hold_no_pickle(tmp_path: Path) -> None:
    """What checkpoints and adapters are read by takes safetensors and JSON; a pickle in their place is an error.

    Seen to fail: with torch.load in `restore_snapshot`, by the pattern; where the pattern is got around, by the error,
    which is another one when the pickle has been run.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save

    from adamss_core.adapter_files import WEIGHTS, read_weights
    from adamss_core.errors import AdamssError
    from adamss_core.training.snapshot import OPTIMIZER, RANDOM, STATE, restore_snapshot

    canary, model = tmp_path / "canary", torch.nn.Linear(1, 1)
    optimizer: Any = torch.optim.SGD(model.parameters())
    torch.save({"state": attacks.Bait(canary)}, tmp_path / "saved")
    for content in (attacks.bait(canary), (tmp_path / "saved").read_bytes()):
        (tmp_path / STATE).write_text('{"random": {}}')
        for bad, good in ((OPTIMIZER, RANDOM), (RANDOM, OPTIMIZER)):
            (tmp_path / good).write_bytes(save({}))
            (tmp_path / bad).write_bytes(content)
            with pytest.raises(SafetensorError):
                restore_snapshot(tmp_path, model, optimizer)
        (tmp_path / WEIGHTS).write_bytes(content)
        with pytest.raises(AdamssError):
            read_weights(tmp_path)
    root = Path(__file__).parents[2]
    loaders = r"(?<!safetensors\.)torch\.load\(|pickle\.load|joblib\.load|np\.load\(|allow_pickle=True|remote_code=True"
    for package in ("adamss_core", "service", "worker"):
        for file in (root / package).rglob("*.py"):
            assert not re.search(loaders, file.read_text()), file
    assert not canary.exists()


def test_09_paths_and_addresses_as_models_or_data(session_target: Target, secret: Path) -> None:
    """Base models and data sets are named by pattern only: no path, no address, nothing is fetched.

    Seen to fail: with a MODEL_NAME that allows everything.
    """
    client = session_target.client("submit")
    spec = client.get(f"/jobs/{session_target.ids['job_id']}").json()["resolved"]["spec"]
    wanted = [
        *attacks.traversals(secret),
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/",
        "https://evil.example/model",
        "ftp://evil.example/x",
        "s3://bucket/key",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "hf://org/model",
        "org/model/../../x",
        "org/model@main",
        "a" * 300,
        "",
        None,
        {"path": str(secret)},
        [str(secret)],
    ]
    connected: list[Any] = []
    with watching_network(connected):
        for path in (("base_model",), ("dataset", "train"), ("dataset", "eval")):
            for value in wanted:
                if value is None and path == ("dataset", "eval"):
                    continue
                answer = client.post("/jobs?dry_run=true", json=replaced(spec, path, value))
                assert answer.status_code == 422, (path, value)
                assert SECRET not in answer.text
                error = error_of(answer.json())
                # A NUL is refused before anybody knows which field has it.
                assert (error["param"] or "").startswith(path[0]) or "NUL" in error["message"]
    assert connected == []


class Network:
    """Where this process connects to, while one looks."""

    found: list[Any] | None = None
    hooked = False

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if cls.found is not None and event in ("socket.connect", "socket.getaddrinfo"):
            cls.found.append(arguments[1:])


@contextmanager
def watching_network(found: list[Any]) -> Iterator[None]:
    if not Network.hooked:
        sys.addaudithook(Network.hook)
        Network.hooked = True
    Network.found = found
    yield
    Network.found = None


def test_10_chat_templates_come_from_models_only(session_target: Target) -> None:
    """No call takes a template: no field is named so, and one that is added anywhere in a spec is refused. Cells that
    look like templates stay text.

    Seen to fail: with extra="ignore" in the spec's models.
    """
    client = session_target.client("submit")
    schema = json.dumps(session_target.app.openapi()["components"]["schemas"])
    properties = {name for model in json.loads(schema).values() for name in model.get("properties", {})}
    assert not [name for name in properties if "template" in name and not name.startswith("has_")]
    spec = client.get(f"/jobs/{session_target.ids['job_id']}").json()["resolved"]["spec"]
    for where in ((), ("dataset",), ("training",), ("adamss",)):
        for name in ("chat_template", "template"):
            answer = client.post("/jobs?dry_run=true", json=replaced(spec, (*where, name), "{{ 7 * 7 }}"))
            assert (answer.status_code, error_of(answer.json())["code"]) == (422, "unknown_field"), where
    cells = "text,label\n" + '"{{ 7919 * 7907 }} {{ \'\'.__class__.__mro__ }}",a\n"{% for i in range(9) %}x",b\n' * 5
    dataset = client.post("/datasets", files={"file": ("{{7919*7907}}.csv", cells)}).json()
    preview = client.get(f"/datasets/{dataset['id']}/preview").text
    assert "{{ 7919 * 7907 }}" in preview
    assert str(7919 * 7907) not in json.dumps(dataset["name"]) + preview
    client.delete(f"/datasets/{dataset['id']}")


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% for i in range(1000000000) %}x{% endfor %}",
    ],
)
def test_10_templates_of_models_are_sandboxed(tiny_model: Path, template: str) -> None:
    """A template that a base model brings reaches nothing but its messages, and cannot loop for ever.

    Seen to fail: with jinja2's plain Environment in transformers' chat_template_utils: one is rendered, one runs `id`.
    """
    from jinja2.exceptions import SecurityError
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = template
    with pytest.raises((SecurityError, OverflowError)):
        tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)


@pytest.mark.usefixtures("read_elsewhere")
def test_11_malformed_files(session_target: Target) -> None:
    """Mutants of every format: each is taken or refused in words, none is read in this process, and the API and its
    memory stay as they are. The long run, with ten thousand, is `make fuzz`.

    Seen to fail: with the file read in this process, from the first good one on.
    """
    client = session_target.client("submit")
    before = memory()
    for place, (name, content) in enumerate(attacks.good_files().items()):
        good = client.post("/datasets", files={"file": (name, content)})
        assert good.status_code == 201, (name, good.text)
        for mutant in attacks.mutants(content, 2, seed=place):
            answer = client.post("/datasets", files={"file": (name, mutant)})
            assert answer.status_code in (201, 413, 422), (name, answer.status_code, answer.text[:200])
            if answer.status_code == 201:
                client.delete(f"/datasets/{answer.json()['id']}")
        client.delete(f"/datasets/{good.json()['id']}")
    assert memory() - before < 50_000_000
    assert client.get("/healthz").status_code == 200
