"""Corpora: names that lead elsewhere, files that are bombs, pickles or broken, and seeded mutants of good files."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.service.datasets.workbooks import workbook_of

UP = "../" * 12


def traversals(secret: Path) -> list[str]:
    """Ways to name a file outside of where names belong."""
    absolute = str(secret)
    relative = UP + absolute.lstrip("/")
    return [
        absolute,
        relative,
        relative.replace("/", "\\"),
        relative.replace("../", "....//"),
        relative.replace("/", "%2f"),
        relative.replace(".", "%2e").replace("/", "%2f"),
        relative.replace(".", "%252e").replace("/", "%252f"),
        relative.replace("/", "%c0%af"),
        relative.replace("/", "\uff0f"),
        f"{absolute}\0.csv",
        f"{absolute}%00.csv",
        f"file://{absolute}",
        f"ds_aaaaaaaaaaaa/{relative}",
        "..",
        ".",
        "~/.ssh/id_rsa",
        "C:\\Windows\\win.ini",
        "CON",
        "/proc/self/environ",
        "/dev/stdin",
    ]


class Bait:
    """Unpickled, it makes a file: where that is there, something loaded a pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def bait(path: Path) -> bytes:
    return pickle.dumps(Bait(path))


def png(side: int = 4, color: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), color).save(out, "PNG")
    return out.getvalue()


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def zip_with_link(target: str) -> bytes:
    """A zip whose member is a symbolic link."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("cats/link.png")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
        archive.writestr("cats/real.png", png())
    return out.getvalue()


def zip_with_raw_name(name: bytes) -> bytes:
    """A zip with a member's name as it is, which `zipfile` would have cleaned."""
    placeholder = "x" * len(name)
    return zip_of({placeholder: png()}).replace(placeholder.encode(), name)


def bombs(bytes_unpacked: int) -> dict[str, bytes]:
    """Small files that unpack to very much more than they weigh."""
    zeros = b"a,b\n" + b"0,0\n" * (bytes_unpacked // 4)
    column = pa.array([b"x" * 1000] * 1, pa.binary()).take(pa.array([0] * (bytes_unpacked // 1000), pa.int32()))
    parquet = io.BytesIO()
    pq.write_table(pa.table({"text": column.cast(pa.string())}), parquet, use_dictionary=True)
    return {
        "rows.csv.gz": gzip.compress(zeros),
        "twice.csv.gz": gzip.compress(gzip.compress(zeros)),
        "rows.parquet": parquet.getvalue(),
        "images.zip": zip_of({f"cats/{place}.png": huge_png() for place in range(20)}),
        "zeros.zip": zip_of({"cats/a.png": bytes(bytes_unpacked)}),
        "overlap.zip": overlapping(bytes_unpacked),
    }


def huge_png(side: int = 30_000) -> bytes:
    """An image of a few hundred bytes of header and zeros that claims side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(side * 3 + 1) * 50, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def overlapping(bytes_unpacked: int) -> bytes:
    """Many entries of the directory that share one compressed member."""
    one = zip_of({"a.png": bytes(bytes_unpacked // 50)})
    end = one.rindex(b"PK\x05\x06")
    start = one.index(b"PK\x01\x02")
    entry = one[start:end]
    entries = entry * 50
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 50, 50, len(entries), start, 0)
    return one[:start] + entries + tail


def good_files() -> dict[str, bytes]:
    """One small good file of every kind that is accepted."""
    images = {f"{kind}/{place}.png": png(color=kind) for kind in ("red", "blue") for place in range(5)}
    table = pa.table({"text": ["a good film", "a bad film"] * 10, "label": ["good", "bad"] * 10})
    parquet, tall = io.BytesIO(), "".join(f"a film no {place},label{place % 2}\n" for place in range(20))
    pq.write_table(table, parquet)
    task = b'{"data": {"text": "a"}, "annotations": [{"result": [{"value": {"choices": ["x"]}}]}], "id": 1}'
    return {
        "rows.csv": f"text,label\n{tall}".encode(),
        "rows.tsv": f"text,label\n{tall}".replace(",", "\t").encode(),
        "rows.jsonl": b'{"text": "a film", "label": "good", "n": [1, 2]}\n' * 20,
        "rows.json": b"[" + b",".join([b'{"text": "a film", "label": "good"}'] * 20) + b"]",
        "rows.csv.gz": gzip.compress(f"text,label\n{tall}".encode()),
        "rows.parquet": parquet.getvalue(),
        "images.zip": zip_of(images),
        "words.conll": b"-DOCSTART- O\n\n" + b"EU B-ORG\nrejects O\n\nAnna I-PER\nLee I-PER\n\n" * 10,
        "words.conllu": b"# text = a b\n" + b"".join(b"%d\ta%s\n" % (n, b"\t_" * 8) for n in range(1, 9)) + b"\n",
        "words.csv": b"sentence_id,word,tag\n" + b"".join(b"%d,w%d,O\n" % (n // 4, n) for n in range(24)),
        "labels.csv": b'text,labels\na,"x,y"\nb,"y,z"\nc,"x,z"\nd,y\n' + b'e,"x,y"\n' * 9,
        "spans.jsonl": b'{"text": "Anna Lee", "spans": [{"start": 0, "end": 8, "label": "PER"}]}\n' * 12,
        "tasks.json": b"[" + b",".join([task] * 12) + b"]",
    }


def more_good_files() -> dict[str, bytes]:
    """Kinds that only the long run mutates: each costs a test of every format three uploads."""
    table = pa.table({"text": ["a good film", "a bad film"] * 10, "label": ["good", "bad"] * 10})
    arrow, packed, rows = io.BytesIO(), io.BytesIO(), b"text,label\n" + b"a film,good\n" * 9
    with pa.ipc.new_file(arrow, table.schema) as writer:
        writer.write_table(table)
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for split in ("train", "test"):
            info = tarfile.TarInfo(f"{split}.csv")
            info.size = len(rows)
            archive.addfile(info, io.BytesIO(rows))
    return {
        "columns.json": b'{"text": [' + b",".join([b'"a film"'] * 12) + b'], "n": [' + b",".join([b"1"] * 12) + b"]}",
        "rows.xlsx": workbook_of({"a": [["text", "n"], *[[f"a film {n}", n] for n in range(12)]]}),
        "text.txt": b"A line, of words.\nAnother line; with more words in it.\n\n" * 10,
        "text.md": b"# A title\n\n```\n# code\n```\n\nText.\n" * 10,
        "commas.csv": b"name;price\n" + b"a film;3,5\nanother;1.234,75\n" * 8,
        "rows.arrow": arrow.getvalue(),
        "splits.zip": zip_of({"train.csv": rows, "test.csv": rows}),
        "splits.tar.gz": packed.getvalue(),
    }


def mutants(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damaged copies: flipped, cut, doubled, filled and swapped bytes, and numbers made absurd."""
    source = random.Random(seed)
    extremes = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00")
    for _ in range(count):
        data = bytearray(content)
        for _ in range(source.choice((1, 1, 2, 4, 16))):
            kind, place = source.randrange(6), source.randrange(max(1, len(data)))
            if kind == 0 and data:
                data[min(place, len(data) - 1)] ^= 1 << source.randrange(8)
            elif kind == 1:
                del data[place:]
            elif kind == 2:
                data[place:place] = data[place : place + source.randrange(1, 64)]
            elif kind == 3:
                data[place : place + 4] = source.choice(extremes)
            elif kind == 4:
                data[place:place] = bytes(source.randrange(256) for _ in range(source.randrange(1, 16)))
            else:
                other = source.randrange(max(1, len(data)))
                data[place : place + 8], data[other : other + 8] = data[other : other + 8], data[place : place + 8]
        yield bytes(data)
