"""Fetch a base model from the hub into its cache, as the only process of a worker that has the hub's token.

`python -m worker.model_fetch JOB_FOLDER MODEL [REVISION]`. The training process then reads the cache, without a token.
"""

from __future__ import annotations

import sys
from pathlib import Path

from service.shared.model_selection import is_wanted
from service.shared.processes.parent_death import die_with_parent
from service.shared.storage.home import JobFolder


def main() -> int:
    """Fetch file by file; each counts as progress of the job."""
    die_with_parent()
    folder, model, *revision = sys.argv[1:]
    try:
        _fetch(JobFolder(Path(folder)), model, revision[0] if revision else None)
    except Exception as error:  # the hub's client raises many kinds
        if _is_cached(model, revision[0] if revision else None):
            return 0  # training finds what it needs, or says what is missing
        lines = str(error).strip().splitlines() or [type(error).__name__]
        print(f"The base model could not be fetched from the hub: {lines[0]}", file=sys.stderr)
        return 1
    return 0


def _fetch(folder: JobFolder, model: str, revision: str | None) -> None:
    from huggingface_hub import HfApi, hf_hub_download

    for file in HfApi().model_info(model, revision=revision).siblings or []:
        if is_wanted(file.rfilename):
            hf_hub_download(model, file.rfilename, revision=revision)
            folder.heartbeat.touch()


def _is_cached(model: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str)


if __name__ == "__main__":
    sys.exit(main())
