"""Store JSONL files of training examples whole: every row must be usable, and the uploaded bytes are kept.

The other uploads leave bad rows out and keep the converted rows alone; whoever sends a file through `/v1/files` gets
the same bytes back, and an error for the first bad line.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import IO, Any

from adamss_core.fileio.fsync import sync_open_file
from adamss_core.spec import JobSpec, record_of
from adamss_core.spec.cells import Unusable
from adamss_core.spec.tasks.text_generation import NAME as TASK
from service.datasets.convert import ORIGINAL, ROWS
from service.datasets.rows import Problem, refuse
from service.datasets.service import Piece, get, store, work_folder
from service.datasets.upload import read_upload
from service.http.context import Caller
from service.shared.database.tables import Dataset
from service.shared.ids import new_id

SUFFIX = ".jsonl"
PREFERRED = b'"preferred_output"'  # of an example of preferences
HEAD_BYTES = 65_536
# Columns of training examples; a file without them may be meant for another method, which the job refuses.
EXAMPLES = (("messages",), ("prompt", "completion"))


def upload_original(caller: Caller, file: IO[bytes], filename: str) -> Dataset:
    """Convert a JSONL file, check each row as an example of text generation, and store rows and bytes.

    Raises:
        InvalidRequest: a line cannot be used; nothing is stored.
        TooLarge: the file, or the project's storage.
    """
    _refuse_preferences(file)
    dataset_id = new_id("ds")
    with work_folder(caller.settings, dataset_id) as folder:
        name = filename if filename.lower().endswith(SUFFIX) else filename + SUFFIX
        converted = read_upload(caller.readers, file, name, folder, caller.upload_bytes)
        if converted["format"] != "jsonl" or "splits" in converted:
            raise refuse("not_jsonl", "The file must be JSONL: one JSON object a line, in UTF-8, not packed.")
        _check_rows(converted["profile"], folder / ROWS)
        size = _keep(file, folder / ORIGINAL)
        converted["size_bytes"] += size
        converted["profile"] |= {"original": {"bytes": size}}
        store(caller, [Piece(dataset_id, filename, folder, converted)])
    return get(caller, dataset_id)


def _refuse_preferences(file: IO[bytes]) -> None:
    """Raise InvalidRequest for examples of preferences, whose rows would be refused for other reasons."""
    file.seek(0)
    if PREFERRED in file.readline(HEAD_BYTES):
        raise refuse(
            "preferences",
            "The file holds preferences, for the method 'dpo', which is not trained here. Write examples of messages, "
            "or of prompt and completion, with the preferred answers.",
        )


def _check_rows(profile: dict[str, Any], rows: Path) -> None:
    """Raise InvalidRequest for the first line that cannot be trained on."""
    if profile["problems"]:
        problem = Problem(**profile["problems"][0])
        more = f" In all, {profile['problem_count']} lines are wrong." if profile["problem_count"] > 1 else ""
        raise refuse("invalid_line", f"The file is refused: {problem}.{more}")
    names = {column["name"] for column in profile["columns"]}
    columns = next((fields for fields in EXAMPLES if names.issuperset(fields)), None)
    if columns is None:
        return
    block = {name: name for name in (*columns, *(["tools"] if {"messages", "tools"} <= names else []))}
    spec = JobSpec.model_validate(
        {
            "name": "file",
            "base_model": "file",
            "task": TASK,
            "dataset": {"train": "ds_" + "x" * 8, **block},
        }
    )
    read = record_of(spec).reader(spec)
    with rows.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                read(json.loads(line))
            except Unusable as reason:
                raise refuse("invalid_line", f"The file is refused: line {number} is an example {reason}.") from reason


def _keep(file: IO[bytes], path: Path) -> int:
    """Copy the uploaded bytes to a file; return their number."""
    file.seek(0)
    with path.open("wb") as copy:
        shutil.copyfileobj(file, copy)
        sync_open_file(copy)
    return path.stat().st_size
