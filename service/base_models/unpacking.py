"""Child process that unpacks and checks a model's archive, which arrives as its standard input.

`python -m service.base_models.unpacking`, in the model's partial folder. No other process reads the archive.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from adamss_core.fileio.exchange import read_order, write_answer
from service.base_models.folder_check import check_folder
from service.base_models.model_archive import gather, refuse, unpack
from service.shared.errors import ServiceError
from service.shared.processes import sandbox
from service.shared.processes.refusals import as_answer
from service.shared.storage.model_folder import CONTENT

MEMORY_BYTES = 2**31
CPU_SECONDS, BYTES_A_CPU_SECOND = 120, 2**25  # decompressing and hashing, on a slow machine


@dataclass(frozen=True)
class UnpackOrder:
    """Arguments of the child.

    Attributes:
        limit: maximum bytes of the archive, and of what it holds.
    """

    limit: int


def main() -> None:
    folder = Path.cwd()
    order = UnpackOrder(**read_order(folder))
    sandbox.enter(MEMORY_BYTES, CPU_SECONDS + order.limit // BYTES_A_CPU_SECOND, order.limit)
    try:
        answer = _unpacked(folder, order)
    except ServiceError as error:
        answer = as_answer(error)
    except (MemoryError, RecursionError):
        answer = as_answer(refuse("damaged_file", "Reading the model's files needs more memory than any model does."))
    write_answer(folder, answer)


def _unpacked(folder: Path, order: UnpackOrder) -> dict[str, Any]:
    incoming = folder / "incoming"
    incoming.mkdir()
    unpacked = unpack(cast(BufferedReader, sys.stdin.buffer), incoming, order.limit)
    files = gather(unpacked, incoming, folder / CONTENT)
    check_folder(folder / CONTENT)
    left_out = {name: value for name, value in asdict(unpacked).items() if name != "files"}
    return {"files": files, **left_out}


if __name__ == "__main__":
    main()
