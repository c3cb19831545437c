"""Words with tags come as CoNLL, as spans of a text, as one word a row, and out of annotation tools."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from service.datasets.iob import to_bio
from service.datasets.left_out import suggest
from service.shared.errors import ServiceError
from tests.service.datasets.corpus import csv_of, json_lines, parquet_of
from tests.service.datasets.test_corpus import read
from tests.service.datasets.test_dialects import notices
from tests.service.datasets.test_suggestion import dataset_of

CONLL = b"""-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
, , O O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""
CONLLU = b"""# sent_id = 1
# text = Vamonos al mar
1-2\tVamonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_

1\tSi\tsi\tINTJ\t_\t_\t0\troot\t_\t_
"""
SENTENCES = [{"tokens": ["EU", "rejects", ","], "tags": ["B-ORG", "O", "O"]}]


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.csv", "a.tsv", "upload"])
def test_conll_is_never_read_as_a_table(name: str, tmp_path: Path) -> None:
    result, kept = read(tmp_path, name, CONLL)
    assert result["format"] == "conll"
    assert kept[0] == {
        "tokens": ["EU", "rejects", ","],
        "column_2": ["NNP", "VBZ", ","],
        "column_3": ["B-NP", "B-VP", "O"],
        "tags": ["B-ORG", "O", "O"],
    }
    assert [row["tokens"] for row in kept] == [["EU", "rejects", ","], ["Peter", "Blackburn"]]


@pytest.mark.parametrize(
    "content",
    [
        b"EU\tB-ORG\nrejects\tO\n,\tO\n",
        b"EU\tB-ORG\r\nrejects\tO\r\n,\tO\r\n\r\n",
        b"\xef\xbb\xbfEU B-ORG\nrejects O\n, O\n \n\n",
        b"# id 0af3 domain=en\nEU _ _ B-ORG\nrejects _ _ O\n, _ _ O\n",
        b"EU\rB-ORG".replace(b"\r", b"\t") + b"\rrejects\tO\r,\tO\r",
        gzip.compress(b"EU\tI-ORG\nrejects\tO\n,\tO\n", mtime=0),  # each process collects it under one name
    ],
)
def test_conll_is_known_by_its_tags(content: bytes, tmp_path: Path) -> None:
    result, kept = read(tmp_path, "data", content)
    assert result["format"] == "conll"
    assert [{name: row[name] for name in ("tokens", "tags")} for row in kept] == SENTENCES


def test_conll_with_a_header_keeps_its_names(tmp_path: Path) -> None:
    _, kept = read(tmp_path, "a.tsv", b"word\tner\nEU\tB-ORG\n\nPeter\tB-PER\n")
    assert kept == [{"word": ["EU"], "ner": ["B-ORG"]}, {"word": ["Peter"], "ner": ["B-PER"]}]


@pytest.mark.parametrize("content", [b"text\tlabel\ngood\tO\nbad\tO\n", b"text,label\ngood film,1\nbad film,0\n"])
def test_a_table_is_not_read_as_conll(content: bytes, tmp_path: Path) -> None:
    assert read(tmp_path, "data", content)[0]["format"] == "csv"


def test_universal_dependencies_keep_their_names(tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.conllu", CONLLU)
    assert kept[0]["form"] == ["Vamos", "nos"]
    assert kept[0]["upos"] == ["VERB", "PRON"]
    assert (kept[0]["text"], kept[0]["sent_id"]) == ("Vamonos al mar", "1")
    assert "1 line" in notices(result)["lines_without_word"]


def test_iob1_becomes_bio_and_is_said(tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.conll", b"a I-PER\nb I-PER\nc B-PER\nd O\ne I-LOC\n\nx O\n")
    assert kept[0]["tags"] == ["B-PER", "I-PER", "B-PER", "O", "B-LOC"]
    assert "In 1 sentence " in notices(result)["iob1_converted"]


@pytest.mark.parametrize("tags", [["NN", "I-X"], ["B-X", "E-X"], ["S-X", "O"], ["B-X", "I-X", "O"]])
def test_other_tags_stay(tags: list[str]) -> None:
    assert to_bio(tags) == (tags, False)


TEXT = "Anna Lee lives in Rome."
WORDS = ["Anna", "Lee", "lives", "in", "Rome", "."]
TAGS = ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
PLACES = [(0, 8, "PER"), (18, 22, "LOC")]
SPANS: dict[str, dict[str, Any]] = {
    "objects": {"text": TEXT, "entities": [{"start": s, "end": e, "label": k} for s, e, k in PLACES]},
    "doccano": {"id": 1, "text": TEXT, "label": [[s, e, k] for s, e, k in PLACES], "Comments": []},
    "old doccano": {"data": TEXT, "labels": [{"start_offset": s, "end_offset": e, "label": k} for s, e, k in PLACES]},
    "prodigy": {
        "text": TEXT,
        "tokens": [
            {"text": word, "start": TEXT.index(word), "end": TEXT.index(word) + len(word), "id": n}
            for n, word in enumerate(WORDS)
        ],
        "spans": [{"start": s, "end": e, "label": k, "token_start": 0} for s, e, k in PLACES],
        "answer": "accept",
    },
    "label studio, small": {
        "text": TEXT,
        "label": [{"start": s, "end": e, "text": TEXT[s:e], "labels": [k]} for s, e, k in PLACES],
        "annotation_id": 1,
        "annotator": 1,
        "lead_time": 3.5,
    },
    "label studio": {
        "id": 1,
        "data": {"text": TEXT},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {
                "was_cancelled": False,
                "result": [
                    {"type": "labels", "from_name": "label", "value": {"start": s, "end": e, "labels": [k]}}
                    for s, e, k in PLACES
                ],
            },
        ],
        "predictions": [{"result": []}],
    },
}


@pytest.mark.parametrize("kind", SPANS)
@pytest.mark.parametrize("container", ["jsonl", "json"])
def test_spans_become_words_with_tags(kind: str, container: str, tmp_path: Path) -> None:
    rows = [SPANS[kind]] * 12
    content = json_lines(*rows) if container == "jsonl" else json.dumps(rows).encode()
    result, kept = read(tmp_path, f"a.{container}", content)
    assert (kept[0]["tokens"], kept[0]["tags"]) == (WORDS, TAGS)
    assert TEXT in kept[0].values()
    assert "spans_to_words" in notices(result)
    if kind == "label studio":
        assert {"cancelled_annotations", "predictions"} <= notices(result).keys()


def test_spans_in_other_containers(tmp_path: Path) -> None:
    spans = SPANS["objects"]["entities"]
    files = {
        "a.parquet": parquet_of({"text": [TEXT] * 12, "entities": [spans] * 12}),
        "a.csv": csv_of(*['"{}","{}"'.format(TEXT, json.dumps(spans).replace('"', '""'))] * 12, header="text,entities"),
    }
    for name, content in files.items():
        (folder := tmp_path / name).mkdir()
        _, kept = read(folder, name, content)
        assert (kept[0]["tokens"], kept[0]["tags"], kept[0]["text"]) == (WORDS, TAGS, TEXT)


def test_spans_within_words_and_over_others_are_counted(tmp_path: Path) -> None:
    rows = [
        *[{"text": "Peter sings", "spans": [[0, 5, "PER"]]}] * 8,
        {"text": "Peterson sings", "spans": [[0, 5, "PER"]]},
        {"text": "New York City", "spans": [[0, 8, "LOC"], [0, 13, "LOC"], [0, 13, "LOC"]]},
    ]
    result, kept = read(tmp_path, "a.jsonl", json_lines(*rows))
    assert (kept[8]["tokens"], kept[8]["tags"]) == (["Peter", "son", "sings"], ["B-PER", "O", "O"])
    assert kept[9]["tags"] == ["B-LOC", "I-LOC", "I-LOC"]
    assert "(1 row: 9)" in notices(result)["spans_cut_words"]
    assert "(1 row: 10)" in notices(result)["spans_overlap"]


def test_words_of_other_scripts_keep_their_marks(tmp_path: Path) -> None:
    rows = [{"text": "हिन्दी भाषा, 3 m²", "spans": [[0, 6, "L"]]}] * 3
    assert read(tmp_path, "a.jsonl", json_lines(*rows))[1][0]["tokens"] == ["हिन्दी", "भाषा", ",", "3", "m²"]


KAGGLE = csv_of(
    *["Sentence: 1,EU,NNP,B-org", ",rejects,VBZ,O", "Sentence: 2,Peter,NNP,I-per", ',"\'s",POS,O'],
    header="Sentence #,Word,POS,Tag",
)


def test_one_word_a_row_is_grouped(tmp_path: Path) -> None:
    result, kept = read(tmp_path, "a.csv", KAGGLE)
    assert kept[1] == {
        "Sentence #": "Sentence: 2",
        "Word": ["Peter", "'s"],
        "POS": ["NNP", "POS"],
        "Tag": ["B-per", "O"],
    }
    assert "2 sentences" in notices(result)["words_grouped"]


def test_one_word_a_row_in_other_containers(tmp_path: Path) -> None:
    rows = [{"sentence_id": n // 3, "token": f"w{n}", "tag": "O"} for n in range(9)]
    for name, content in (
        ("a.jsonl", json_lines(*rows)),
        ("a.parquet", parquet_of({key: [row[key] for row in rows] for key in rows[0]})),
    ):
        (folder := tmp_path / name).mkdir()
        assert [row["token"] for row in read(folder, name, content)[1]][1] == ["w3", "w4", "w5"]


def test_a_number_beside_a_text_groups_nothing(tmp_path: Path) -> None:
    rows = [{"sentence_id": n // 2, "word": f"two words {n}", "label": "a"} for n in range(6)]
    assert len(read(tmp_path, "a.jsonl", json_lines(*rows))[1]) == 6


def test_a_sentence_without_a_word_is_a_bad_row(tmp_path: Path) -> None:
    rows = [{"sentence_id": n // 2, "word": "" if n == 7 else "w", "tag": "O"} for n in range(40)]
    result, _ = read(tmp_path, "a.jsonl", json_lines(*rows))
    assert [problem["row"] for problem in result["profile"]["problems"]] == [4]


def choice(*classes: str, **more: Any) -> dict[str, Any]:
    return {"result": [{"type": "choices", "from_name": "mood", "value": {"choices": list(classes)}}], **more}


def test_choices_of_label_studio_are_labels(tmp_path: Path) -> None:
    tasks = [{"id": n, "data": {"text": f"text {n}"}, "annotations": [choice("ab"[n % 2])]} for n in range(12)]
    tasks[3]["annotations"] = [choice("b"), choice("a")]
    result, kept = read(tmp_path, "a.json", json.dumps(tasks).encode())
    assert kept[3] == {"text": "text 3", "mood": "b"}
    assert "1 task" in notices(result)["more_annotations"]


def test_several_choices_are_lists(tmp_path: Path) -> None:
    tasks = [
        {"text": f"t {n}", "mood": {"choices": ["a", "b"]} if n else "a", "annotation_id": n, "lead_time": 1.0}
        for n in range(12)
    ]
    _, kept = read(tmp_path, "a.json", json.dumps(tasks[1:]).encode())
    assert kept[0] == {"text": "t 1", "mood": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"<html>Sign in</html>", "HTML page"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.ipynb", b'{"cells": [], "metadata": {}, "nbformat": 4}', "Jupyter notebook"),
        ("a.json", b'{\n "metadata": {\n "kernelspec": {}}, "nbformat": 4}', "Jupyter notebook"),
        ("a.svg", b"<svg/>", "XML"),
    ],
)
def test_what_holds_no_rows_is_named(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=sentence):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("name", "content", "mapping"),
    [
        ("a.conllu", CONLLU, {"tokens": "form", "tags": "upos"}),
        ("a.conll", CONLL, {"tokens": "tokens", "tags": "tags"}),
        ("a.csv", KAGGLE, {"tokens": "Word", "tags": "Tag"}),
        ("a.jsonl", json_lines(*[SPANS["prodigy"]] * 3), {"tokens": "tokens", "tags": "tags"}),
    ],
)
def test_words_suggest_their_task(name: str, content: bytes, mapping: dict[str, str], tmp_path: Path) -> None:
    best = suggest(dataset_of(content, tmp_path, name))[0]
    assert (best.task, best.dataset) == ("token-classification", mapping)


TAGGED = [("Peter lives in Rome", "B-PER O O B-LOC"), ("He saw Anna", "O O B-PER"), ("Nothing here", "O O")] * 10


@pytest.mark.parametrize("names", [("tokens", "tags"), ("sentence", "labels"), ("text", "tags"), ("text", "label")])
def test_texts_of_tags_are_split(names: tuple[str, str], tmp_path: Path) -> None:
    content = csv_of(*(f"{n} {words},O {tags}" for n, (words, tags) in enumerate(TAGGED)), header=",".join(names))
    dataset = dataset_of(content, tmp_path, "a.csv")
    found = suggest(dataset)[0]
    assert (found.task, found.dataset) == ("token-classification", dict(zip(("tokens", "tags"), names, strict=True)))
    assert "tag_texts" in {notice["code"] for notice in dataset.profile["notices"]}


def test_texts_of_other_labels_stay(tmp_path: Path) -> None:
    rows = [{"text": f"{words} {n}", "labels": "very good" if n % 2 else "O"} for n, (words, _) in enumerate(TAGGED)]
    assert suggest(dataset_of(rows, tmp_path))[0].task == "text-classification"


def test_rows_with_fewer_tags_are_said(tmp_path: Path) -> None:
    rows = [{"tokens": words.split(), "tags": tags.split()} for words, tags in TAGGED]
    for row in rows[:2]:
        row["tags"].pop()
    dataset = dataset_of(rows, tmp_path)
    found = suggest(dataset)[0]
    assert (found.task, found.confidence) == ("token-classification", "likely")
    said = {notice["code"]: notice["message"] for notice in dataset.profile["notices"]}
    assert "in 2 rows" in said["unequal_tags"]
