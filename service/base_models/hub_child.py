"""Child process that asks the hub for a model: which files it has, or the files themselves.

`python -m service.base_models.hub_child`, in a folder of its own, as the only process with the hub's token. A
repository's code and pickles are never fetched.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any

from adamss_core.fileio.exchange import read_order, write_answer
from adamss_core.fileio.fsync import sync_file
from adamss_core.fileio.hashing import sha256_of
from service.base_models.folder_check import check_folder
from service.shared.errors import InvalidRequest
from service.shared.hub_errors import hub_refusal
from service.shared.model_selection import REMEDY, is_pickle, is_wanted
from service.shared.processes.parent_death import die_with_parent
from service.shared.processes.refusals import as_answer
from service.shared.storage.model_folder import CONTENT, ModelFile

DOWNLOADS = "hub"  # folder of the files while they come
STOP = "stop"  # a file that ends the process
LOOK_SECONDS = 1.0
AT_ONCE = 4  # files


def list_files(hub_id: str, revision: str) -> dict[str, Any]:
    """Return the commit of a revision, and the sizes of the files that a model is loaded from.

    Raises:
        InvalidRequest: the model has no config or no safetensors.
    """
    from huggingface_hub import HfApi

    info = HfApi().model_info(hub_id, revision=revision, files_metadata=True)
    found = {file.rfilename: file.size or 0 for file in info.siblings or []}
    files = {name: size for name, size in found.items() if is_wanted(name)}
    if "config.json" not in files:
        raise _unusable(f"'{hub_id}' has no config.json: transformers cannot load it.")
    if not any(name.endswith(".safetensors") for name in files):
        pickled = any(map(is_pickle, found))
        problem = f"'{hub_id}' has no safetensors weights" + (", only pickles. " if pickled else ". ")
        raise _unusable(f"{problem}{REMEDY}", "pickle_weights" if pickled else "missing_file")
    return {"commit": info.sha, "files": files}


def fetch(folder: Path, hub_id: str, commit: str, names: list[str]) -> dict[str, ModelFile]:
    """Download files into `model`, and return their manifest.

    Raises:
        InvalidRequest: a file is missing or damaged.
    """
    from huggingface_hub import snapshot_download

    downloads, target = folder / DOWNLOADS, folder / CONTENT
    snapshot_download(hub_id, revision=commit, allow_patterns=names, local_dir=downloads, max_workers=AT_ONCE)
    target.mkdir()
    files: dict[str, ModelFile] = {}
    for name in sorted(names):
        path = target / name
        (downloads / name).rename(path)
        sync_file(path)
        files[name] = {"size_bytes": path.stat().st_size, "sha256": sha256_of(path)}
    shutil.rmtree(downloads)
    check_folder(target)
    return files


def _unusable(message: str, code: str = "missing_file") -> InvalidRequest:
    return InvalidRequest(message, code=code, param="hub_id")


def _end_when_asked(folder: Path) -> None:
    while not (folder / STOP).exists():
        sleep(LOOK_SECONDS)
    os._exit(1)


def main() -> None:
    die_with_parent()
    folder = Path.cwd()
    order = read_order(folder)
    Thread(target=_end_when_asked, args=(folder,), daemon=True).start()
    hub_id, revision = order["hub_id"], order["revision"]
    answer: dict[str, Any]
    try:
        if (names := order.get("names")) is None:
            answer = list_files(hub_id, revision)
        else:
            answer = {"files": fetch(folder, hub_id, revision, names)}
    except Exception as error:  # the hub's client raises many kinds
        if (refusal := hub_refusal(error, "model", hub_id, revision)) is None:
            raise
        answer = as_answer(refusal)
    write_answer(folder, answer)


if __name__ == "__main__":
    main()
