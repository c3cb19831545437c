"""Each kind of file in docs/formats.md has an example, which is understood."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from service.datasets.catalogue import KINDS, Kind, table
from service.datasets.dialects import DIALECTS
from service.datasets.dialects.sentences import Sentences
from service.datasets.left_out import suggest
from service.datasets.rows import Format
from service.shared.database.tables import Dataset
from tests.service.datasets.format_examples import EXAMPLES
from tests.service.datasets.test_corpus import read

DOCS = Path(__file__).parents[3] / "docs" / "formats.md"


def suggested(result: dict[str, Any]) -> Any:
    return suggest(cast(Dataset, SimpleNamespace(**result)))[0]


def test_docs_list_every_kind() -> None:
    assert table() in DOCS.read_text(encoding="utf-8"), "run python -m service.datasets.catalogue"


def test_every_reader_and_dialect_is_listed() -> None:
    listed = {reader for kind in KINDS for reader in kind.readers}
    assert listed == {*get_args(Format), *DIALECTS, Sentences}
    assert [kind.name for kind in KINDS] == list(EXAMPLES)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_example_is_understood(kind: Kind, tmp_path: Path) -> None:
    name, content = EXAMPLES[kind.name]
    result, _ = read(tmp_path, name, content)
    assert result["profile"]["problem_count"] == 0
    assert suggested(result).task == kind.task
    formats = [reader for reader in kind.readers if isinstance(reader, str)]
    assert not formats or result["format"] in formats
