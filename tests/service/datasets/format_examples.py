"""A small file of each kind in the catalogue, by the kind's name."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa

from tests.service.datasets.corpus import class_folders, coco_of, csv_of, image, json_lines, parquet_of, zip_of
from tests.service.datasets.workbooks import workbook_of

COUNT = 24
ROWS = [{"text": f"a {('good', 'bad')[n % 2]} film no {n}", "label": ("pos", "neg")[n % 2]} for n in range(COUNT)]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
LINES = [f"{row['text']},{row['label']}" for row in ROWS]
TOOLS = [{"type": "function", "function": {"name": "rate", "parameters": {"type": "object", "properties": {}}}}]
WORDS = [[("Peter", "B-PER"), ("liked", "O"), ("film", "O"), (f"no{n}", "O")] for n in range(COUNT)]
TAGGED = [tuple(zip(*sentence, strict=True)) for sentence in WORDS]
NAMES = ("news", "sport", "film")


def arrow_of(columns: dict[str, Any]) -> bytes:
    table, buffer = pa.table(columns), io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def turns(row: dict[str, str]) -> list[dict[str, str]]:
    return [{"role": "user", "content": row["text"]}, {"role": "assistant", "content": row["label"]}]


def labels(place: int) -> list[str]:
    return [NAMES[place % 3]] if place % 2 else [NAMES[place % 3], NAMES[(place + 1) % 3]]


def share_gpt(row: dict[str, str]) -> dict[str, Any]:
    return {"conversations": [{"from": "human", "value": row["text"]}, {"from": "gpt", "value": row["label"]}]}


def task_of(row: dict[str, str]) -> dict[str, Any]:
    chosen = {"type": "choices", "from_name": "class", "to_name": "text", "value": {"choices": [row["label"]]}}
    return {"data": {"text": row["text"]}, "annotations": [{"result": [chosen]}]}


def span_row(place: int) -> dict[str, Any]:
    return {"text": f"Peter liked film no{place}", "entities": [{"start": 0, "end": 5, "label": "PER"}]}


def squad_row(place: int) -> dict[str, Any]:
    context = f"Peter liked film no {place} in the end"
    answers = {"text": [f"film no {place}"], "answer_start": [12]}
    return {"context": context, "question": f"What is number {place} for Peter?", "answers": answers}


EXAMPLES: dict[str, tuple[str, bytes]] = {
    "Table with separators": ("a.csv", csv_of(*LINES)),
    "JSON lines": ("a.jsonl", json_lines(*ROWS)),
    "List of objects": ("a.json", json.dumps(ROWS).encode()),
    "One object with a table": ("a.json", json.dumps(COLUMNS).encode()),
    "Spreadsheet": ("a.xlsx", workbook_of({"a": [["text", "label"], *[list(row.values()) for row in ROWS]]})),
    "Parquet": ("a.parquet", parquet_of(COLUMNS)),
    "Arrow": ("a.arrow", arrow_of(COLUMNS)),
    "Plain text": ("a.txt", "".join(f"It is {row['text']}.\n" for row in ROWS).encode()),
    "Markdown": ("a.md", "".join(f"# Film\n\nIt is {row['text']}.\n\n" for row in ROWS).encode()),
    "CoNLL, CoNLL-U": (
        "a.conll",
        "\n".join("".join(f"{word} {tag}\n" for word, tag in sentence) for sentence in WORDS).encode(),
    ),
    "Images in folders": ("a.zip", zip_of(class_folders(COUNT))),
    "Images with metadata": (
        "a.zip",
        zip_of(
            {f"{n}.png": image(color=(9 * n, 90, 90)) for n in range(COUNT)}
            | {"metadata.csv": csv_of(*(f"{n}.png,{n % 2}x" for n in range(COUNT)), header="file_name,label")}
        ),
    ),
    "Images with COCO's annotations": (
        "a.zip",
        zip_of(
            {f"{n}.png": image(color=(9 * n, 90, 90)) for n in range(COUNT)}
            | {"annotations.json": coco_of(*(f"{n}.png" for n in range(COUNT)))}
        ),
    ),
    "Images in columns": (
        "a.parquet",
        parquet_of(
            {
                "image": [{"bytes": image(color=(9 * n, 90, 90)), "path": f"{n}.png"} for n in range(COUNT)],
                "label": [f"{n % 2}x" for n in range(COUNT)],
            }
        ),
    ),
    "Chats": ("a.jsonl", json_lines(*map(share_gpt, ROWS))),
    "Chats with a prompt apart": (
        "a.jsonl",
        json_lines(*({"prompt": turns(row)[:1], "completion": turns(row)[1:]} for row in ROWS)),
    ),
    "Preferences": (
        "a.jsonl",
        json_lines(*({"prompt": row["text"], "chosen": row["label"], "rejected": "no"} for row in ROWS)),
    ),
    "Tools of chats": ("a.jsonl", json_lines(*({"tools": TOOLS, "messages": turns(row)} for row in ROWS))),
    "Questions on a passage": ("a.jsonl", json_lines(*map(squad_row, range(COUNT)))),
    "Spans of a text": ("a.jsonl", json_lines(*map(span_row, range(COUNT)))),
    "Tags as text": (
        "a.csv",
        csv_of(*(" ".join(words) + "," + " ".join(tags) for words, tags in TAGGED), header="sentence,labels"),
    ),
    "One word a row": (
        "a.csv",
        csv_of(
            *(f"{n},{word},{tag}" for n, sentence in enumerate(WORDS) for word, tag in sentence),
            header="sentence_id,word,tag",
        ),
    ),
    "Label Studio": ("a.json", json.dumps([*map(task_of, ROWS)]).encode()),
    "Lists as text": (
        "a.csv",
        csv_of(*(f'film no {n},"{labels(n)}"' for n in range(COUNT)), header="text,labels"),
    ),
    "Several labels in a cell": (
        "a.csv",
        csv_of(*(f'film no {n},"{",".join(labels(n))}"' for n in range(COUNT)), header="text,labels"),
    ),
    "Decimal commas": (
        "a.csv",
        "".join(["text;score\n", *(f"film no {n};{n % 5},5\n" for n in range(COUNT))]).encode(),
    ),
    "Objects in cells": ("a.jsonl", json_lines(*({**row, "meta": {"lang": "en"}} for row in ROWS))),
}
