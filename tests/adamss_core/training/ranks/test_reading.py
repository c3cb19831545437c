"""Each rank of a divided base reads its part of the blocks from the file, and no page of the others' parts."""

from __future__ import annotations

import os
import re
import sys
from itertools import chain
from pathlib import Path

import pytest
from accelerate import Accelerator
from peft import PeftModel

from adamss_core.training import preparation
from adamss_core.training.ranks.ranks import Ranks
from adamss_core.training.ranks.sharding import shard_base
from tests.adamss_core.training.ranks import processes
from tests.adamss_core.training.support import build_model, job, request, texts

pytestmark = [
    pytest.mark.compat,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="looks into /proc"),
]

MAPPED = re.compile(r"^\S+-\S+ r.*/model\.safetensors\n(?:\w.*\n)*?Rss: +(\d+) kB", re.MULTILINE)
WIDTH, INNER = 256, 32_768
PARTS = 2 * 2 * 4 * WIDTH * INNER  # bytes of the large matrices: two in each of two layers
SLACK = 2 * 2 * 2**22  # the kernel maps up to 2 MB at once, at both ends of a part


def main() -> None:
    """Be one rank that notes how much of the base's file it has read when its blocks are divided."""
    request_file = Path(sys.argv[1])

    def noting(model: PeftModel, ranks: Ranks, accelerator: Accelerator) -> None:
        mapped = [value.data for value in chain(model.parameters(), model.buffers())]  # else the file is unmapped
        shard_base(model, ranks, accelerator)
        read = sum(int(kilobytes) for kilobytes in MAPPED.findall(Path("/proc/self/smaps").read_text()))
        request_file.with_suffix(f".read{os.environ['RANK']}").write_text(str(1024 * read))
        del mapped

    preparation.shard_base = noting  # type: ignore[attr-defined]
    processes.main()


def test_each_rank_reads_its_part(tmp_path: Path) -> None:
    model = build_model(tmp_path / "model", hidden=WIDTH, intermediate=INNER, dropout=0.0)
    spec = job(
        training={"max_steps": 2, "eval_steps": 2},
        adamss={"target_modules": ["query"], "use_asa": False},
        resources={"devices": 2, "shard": True},
    )
    asked = request(model, tmp_path / "run", texts(40), spec=spec)
    processes.ran(asked, 2, module=__name__)
    others = (model / "model.safetensors").stat().st_size - PARTS
    for rank in range(2):
        read = int((asked.folder / f"request-2.read{rank}").read_text())
        assert PARTS // 2 <= read <= PARTS // 2 + others + SLACK, rank
