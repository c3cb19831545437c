"""Copies of good files that are whole, but hold what nobody expects: values of other types, other names, fewer cells.

Damaged bytes (`attacks.mutants`) hardly ever get past the parsers of JSON, CSV and Parquet; these do.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PLAIN = (None, True, False, 0, -1, 2**40, 2**63, -(2**70), 10**4000, 1.5, -0.0, 1e308, float("nan"))
TEXTS = (
    "",
    " ",
    "\n",
    "\0",
    "\ufeff",
    "a",
    "x,y",
    "nan",
    "1,5",
    "[]",
    "{}",
    "[1",
    "{'a': 1}",
    "['a']",
    "\u202e",
    "\ud800",
)
LISTS: tuple[Any, ...] = ([], [[]], [{}], [None], [1, "a"], ["x"] * 3_000, [["a", "b"]], [0, 1, "x"], {}, {"a": {}})
PARTS: tuple[Any, ...] = (
    *({"role": "user", "content": "x"}, {"role": "tool", "content": {"a": [1]}}, {"from": "gpt", "value": "x"}),
    *([{"role": "assistant", "content": None}], [{"from": "gpt"}], [{"type": "text", "text": 1}]),
    *({"name": "f", "arguments": "{"}, {"type": "function", "function": {}}, {"value": {"choices": [[]]}}),
    *({"start": -1, "end": 10**9, "label": "x"}, {"start": "0", "end": True, "label": []}, {"result": None}),
)
ODD = (*PLAIN, *TEXTS, *LISTS, *PARTS)
NAMES = (
    *("", "\0", "a.b", "a" * 300, "0", "id", "index", "row", "row_idx", "columns", "data", "image", "file_name"),
    *("text", "label", "tokens", "tags", "word", "tag", "sentence_id", "spans", "entities", "start", "end", "type"),
    *(
        "messages",
        "conversations",
        "role",
        "from",
        "content",
        "value",
        "tools",
        "tool_calls",
        "function_call",
        "weight",
    ),
    *("prompt", "completion", "chosen", "rejected", "annotations", "predictions", "result", "choices", "from_name"),
)
LINES = ("", "#", "\t", "-DOCSTART-", "a b c", "a\tb", "# x = 1", "1-2\t_", "```", "|", "\ufeff", "# T")
RATES = (0.002, 0.01, 0.05, 0.2)


def odd_copies(name: str, content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Yield copies of a file, none of a kind whose insides are not known here."""
    write = WRITERS.get(name.rpartition(".")[2])
    for number in range(count if write else 0):
        assert write is not None
        source = random.Random(f"{seed} {name} {number}")
        if (copy := write(Odd(source, source.choice(RATES)), content)) is not None:
            yield copy


class Odd:
    """Makes values odd, each with a probability of `rate`."""

    def __init__(self, source: random.Random, rate: float) -> None:
        self.source, self.rate = source, rate

    def happens(self, times: float = 1.0) -> bool:
        return self.source.random() < times * self.rate

    def value(self, value: Any) -> Any:
        if self.happens():
            return self.source.choice(ODD)
        if isinstance(value, dict):
            names = {(self.source.choice(NAMES) if self.happens(1 / 3) else name): name for name in value}
            kept = {new: self.value(value[name]) for new, name in names.items() if not self.happens(1 / 3)}
            return kept | ({self.source.choice(NAMES): self.source.choice(ODD)} if self.happens() else {})
        if isinstance(value, list):
            entries = [self.value(entry) for entry in value if not self.happens(1 / 4)]
            return [*entries, self.source.choice(ODD)] if self.happens() else entries
        return value


def _json_text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def _json(odd: Odd, content: bytes) -> bytes:
    return _json_text(odd.value(json.loads(content)))


def _json_lines(odd: Odd, content: bytes) -> bytes:
    return b"\n".join(_json_text(odd.value(json.loads(line))) for line in content.splitlines())


def _csv(odd: Odd, content: bytes, delimiter: str = ",") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    for number, cells in enumerate(csv.reader(io.StringIO(content.decode()), delimiter=delimiter)):
        choices = NAMES if number == 0 else ODD
        new = [odd.source.choice(choices) if odd.happens() else cell for cell in cells]
        writer.writerow(cell if isinstance(cell, str) else _json_text(cell).decode() for cell in new)
    return out.getvalue().encode(errors="surrogatepass")


def _text(odd: Odd, content: bytes) -> bytes:
    lines = content.decode().split("\n")
    return "\n".join(odd.source.choice([*lines, *LINES]) if odd.happens() else line for line in lines).encode()


def _columns(odd: Odd, content: bytes, *, is_arrow: bool = False) -> bytes | None:
    """Return None where Arrow has no type for the values of a column."""
    file, out = io.BytesIO(content), io.BytesIO()
    table = pa.ipc.open_file(file).read_all() if is_arrow else pq.read_table(file)
    try:
        table = pa.Table.from_pylist([row for row in map(odd.value, table.to_pylist()) if isinstance(row, dict)])
        if not is_arrow:
            pq.write_table(table, out)
            return out.getvalue()
        with pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table)
    except (pa.ArrowException, ValueError, OverflowError, TypeError):
        return None
    return out.getvalue()


WRITERS: dict[str, Callable[[Odd, bytes], bytes | None]] = {
    "json": _json,
    "jsonl": _json_lines,
    "csv": _csv,
    "tsv": lambda odd, content: _csv(odd, content, "\t"),
    "parquet": _columns,
    "arrow": lambda odd, content: _columns(odd, content, is_arrow=True),
    **dict.fromkeys(("conll", "conllu", "txt", "md"), _text),
}
