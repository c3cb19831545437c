"""Data sets from the hub: plain data files of one revision and split; a repository's code is never run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from adamss_core.fileio.exchange import read_order, write_answer
from service.datasets.convert import PARTS
from service.datasets.rows import Notice
from service.datasets.schemas import DatasetOut, HubDatasetIn
from service.datasets.service import Piece, store, work_folder
from service.datasets.splits import WORDS, words_of
from service.datasets.upload import read_upload
from service.http.context import Caller
from service.shared.errors import InvalidRequest, TooLarge, Unavailable
from service.shared.hub_errors import hub_refusal
from service.shared.ids import new_id
from service.shared.processes.ask import ask
from service.shared.processes.environment import for_hub
from service.shared.processes.refusals import as_answer, refusal_in
from service.shared.processes.spawned_process import python
from service.shared.processes.subprocesses import READERS
from service.shared.settings import Settings

COMMAND = python("service.datasets.hub")
SECONDS = 1_800.0
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".csv", ".tsv", ".json", ".jsonl.gz", ".csv.gz", ".tsv.gz", ".json.gz")
NO_DATA = frozenset({"dataset_infos.json", "dataset_info.json", "state.json", "config.json"})


def fetch(caller: Caller, source: HubDatasetIn) -> DatasetOut:
    """Download a split and store it like an uploaded file.

    Raises:
        InvalidRequest: the data set is not allowed by the operator, does not exist, or its files cannot be used.
        Unavailable: the hub does not answer.
    """
    check_allowed(caller.settings, source.hub_id)
    dataset_id = new_id("ds")
    with work_folder(caller.settings, dataset_id) as folder:
        commit = _download(source, folder, caller.upload_bytes)
        converted = read_upload(caller.readers, None, source.hub_id, folder, caller.upload_bytes)
        origin = f"From the hub: {source.hub_id} at {commit}, split {source.split}."
        converted["profile"]["notices"].insert(0, vars(Notice("from_hub", None, origin)))
        name = f"{source.hub_id.replace('/', ' ')} {source.split}"
        return store(caller, [Piece(dataset_id, name, folder, converted)])


def check_allowed(settings: Settings, hub_id: str) -> None:
    if not settings.hub_allowed and hub_id not in settings.hub_datasets:
        raise InvalidRequest(
            f"Data sets from the hub are not allowed here, and '{hub_id}' is not on the operator's list "
            "(ADAMSS_HUB_DATASETS). Upload its file instead.",
            code="hub_not_allowed",
            param="hub_id",
        )


def _download(source: HubDatasetIn, folder: Path, limit: int) -> str:
    """Download the files into `folder/parts` in a child process; return the commit."""
    environment = for_hub(os.environ) | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with READERS.slot():
        reply = ask(COMMAND, source.model_dump() | {"limit": limit}, folder, seconds=SECONDS, environment=environment)
    if reply.exit_code is None:
        raise Unavailable("The download takes too long. Try again later.", code="hub_timeout")
    if reply.answer is None:
        raise Unavailable("The hub could not be read. Try again later.", code="hub_failed")
    if (refusal := refusal_in(reply.answer)) is not None:
        raise refusal
    return str(reply.answer["commit"])


# --- in the child -----------------------------------------------------------------------------------------------------


def choose(names: list[str], split: str, config: str | None) -> list[str]:
    """Choose the data files of a split, all of one format.

    Raises:
        InvalidRequest: no file matches, or the configuration must be named.
    """
    data = [name for name in names if name.endswith(SUFFIXES) and name.rpartition("/")[2] not in NO_DATA]
    if not data:
        raise InvalidRequest(
            "The data set has no Parquet, CSV or JSON files, and loading scripts are never run. The revision "
            "refs/convert/parquet often has the files.",
            code="no_data_files",
            param="hub_id",
        )
    if config is not None:
        data = _of_config(data, config)
    split_named = any(word in words_of(name) for name in data for words in WORDS.values() for word in words)
    split_words = WORDS.get(split, (split.lower(),))
    chosen = [name for name in data if words_of(name) & set(split_words)] if split_named or split != "train" else data
    if not chosen:
        raise InvalidRequest(
            f"No file belongs to the split '{split}'. The data files are {', '.join(data[:20])}.",
            code="unknown_split",
            param="split",
        )
    _check_one_config(chosen, config)
    suffix = next(suffix for suffix in SUFFIXES if any(name.endswith(suffix) for name in chosen))
    return sorted(name for name in chosen if name.endswith(suffix))


def _of_config(data: list[str], config: str) -> list[str]:
    chosen = [name for name in data if config in name.split("/")[:-1]]
    if not chosen:
        folders = sorted({name.split("/")[0] for name in data if "/" in name})
        raise InvalidRequest(
            f"The data set has no configuration '{config}'. Configurations: {', '.join(folders[:20]) or 'none'}.",
            code="unknown_config",
            param="config",
        )
    return chosen


def _check_one_config(chosen: list[str], config: str | None) -> None:
    every = {word for words in WORDS.values() for word in words} | {"data"}
    folders = {part for name in chosen for part in name.split("/")[:-1] if part.lower() not in every}
    if config is None and len(folders) > 1:
        raise InvalidRequest(
            f"The data set has several configurations: {', '.join(sorted(folders)[:20])}. Name one as config.",
            code="config_missing",
            param="config",
        )


def download(order: dict[str, Any], folder: Path) -> str:
    """Download the chosen files into `parts`, in order; return the revision's commit."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    hub_id = order["hub_id"]
    commit = api.dataset_info(hub_id, revision=order["revision"]).sha
    tree = api.list_repo_tree(hub_id, repo_type="dataset", revision=commit, recursive=True)
    sizes = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
    chosen = choose(list(sizes), order["split"], order["config"])
    if (size := sum(sizes[name] for name in chosen)) > order["limit"]:
        raise TooLarge(
            f"The split has {size:,} bytes; the service accepts {order['limit']:,}.", code="too_large", param="split"
        )
    parts = folder / PARTS
    parts.mkdir()
    for number, name in enumerate(chosen):
        downloaded = hf_hub_download(hub_id, name, repo_type="dataset", revision=commit, cache_dir=folder / "hub")
        suffix = next(suffix for suffix in SUFFIXES if name.endswith(suffix))
        Path(downloaded).resolve().rename(parts / f"{number:05d}{suffix}")
    return str(commit)


def main() -> None:
    folder = Path.cwd()
    order = read_order(folder)
    answer: dict[str, Any]
    try:
        answer = {"commit": download(order, folder)}
    except Exception as error:  # the hub's client raises many kinds
        if (refusal := hub_refusal(error, "data set", order["hub_id"], order["revision"])) is None:
            raise
        answer = as_answer(refusal)
    write_answer(folder, answer)


if __name__ == "__main__":
    main()
