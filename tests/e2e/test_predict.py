"""A finished job's model is tried from the command line, with curl's form of the call, and with the client."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from openpyxl import Workbook

from tests.e2e.conftest import Up


def test_predict(up: Up, finished: str, tmp_path: Path) -> None:
    result = up.adamss("predict", finished, "A joy from beginning to end.", "A dull, lifeless bore.", "--json")
    assert result.returncode == 0, result.stderr
    answers = json.loads(result.stdout)
    assert [set(answer["scores"]) for answer in answers] == [{"negative", "positive"}] * 2
    with up.client() as client:
        assert client.predict(finished, ["A joy from beginning to end."])[0]["label"] == answers[0]["label"]


def test_predict_a_file(up: Up, finished: str, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    rows = tmp_path / "rows.csv"
    rows.write_text("".join(up.rows.read_text().splitlines(keepends=True)[:21]))
    result = up.adamss("predict", finished, "--file", str(rows), "--csv", str(out))
    assert result.returncode == 0, result.stderr
    with rows.open() as before, out.open() as after:
        old, new = list(csv.DictReader(before)), list(csv.DictReader(after))
    assert [row["text"] for row in new] == [row["text"] for row in old]
    assert {row["predicted_label"] for row in new} <= {"negative", "positive"}


def test_predict_a_file_that_only_the_service_can_read(up: Up, finished: str, tmp_path: Path) -> None:
    """A workbook; the data set that it becomes for that is not kept."""
    book = Workbook()
    for row in (["text", "stars"], ["A joy.", 5], ["A bore.", 1]):
        book.active.append(row)
    book.save(tmp_path / "films.xlsx")
    before = up.adamss("datasets", "list").stdout
    result = up.adamss("predict", finished, "--file", str(tmp_path / "films.xlsx"), "--csv", "-")
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert [(row["text"], row["stars"]) for row in rows] == [("A joy.", "5"), ("A bore.", "1")]
    assert all(row["predicted_label"] in ("negative", "positive") for row in rows)
    assert up.adamss("datasets", "list").stdout == before


def test_predict_in_vain(up: Up, finished: str) -> None:
    result = up.adamss("predict", "job_nothere1234", "a")
    assert (result.returncode, result.stdout) == (4, "")
    assert up.adamss("predict", finished).returncode == 2


def test_hardest_examples(up: Up, finished: str) -> None:
    result = up.adamss("jobs", "worst", finished, "--limit", "5", "--json")
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)
    with up.rows.open() as file:
        source = list(csv.DictReader(file))
    assert [row["place"] for row in rows] == [1, 2, 3, 4, 5]
    for row in rows:
        assert row["input"]["text"] == source[row["row"] - 1]["text"]
        assert row["expected"] == source[row["row"] - 1]["label"]
    lines = up.adamss("jobs", "worst", finished, "--limit", "5").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == [f"train {row['row']}" for row in rows]


def test_a_model_is_evaluated_on_other_data(up: Up, finished: str, tmp_path: Path) -> None:
    """On the rows that the job itself held out, the numbers are its own; the list of hardest rows is, too."""
    with up.client() as client:
        before = client.get_job(finished)
        held_out = {row["row"]: row for row in client.worst(finished, 100)}
    assert before["result"]
    with up.rows.open() as file:
        source = list(csv.DictReader(file))
    with (tmp_path / "held_out.csv").open("w") as file:
        writer = csv.DictWriter(file, source[0])
        writer.writeheader()
        writer.writerows(source[row - 1] for row in sorted(held_out))
    assert len(held_out) == before["result"]["eval_rows"]
    result = up.adamss("jobs", "evaluate", finished, "--dataset", str(tmp_path / "held_out.csv"), "--watch")
    assert result.returncode == 0, result.stdout + result.stderr
    with up.client() as client:
        (made,) = client.list_jobs(evaluates=finished)
        hardest = client.worst(made["id"], 100)
    assert made["result"]
    assert made["evaluates"]
    for name in ("loss", "accuracy", "macro_f1"):
        assert made["result"][f"test_{name}"] == before["result"][f"eval_{name}"]
    assert f"accuracy\t{before['result']['eval_accuracy']:.4f}" in result.stdout
    assert [row["input"] for row in hardest] == [row["input"] for row in held_out.values()]
    assert f"the trained model of {finished} on" in up.adamss("jobs", "show", made["id"]).stdout
    refused = up.adamss("jobs", "evaluate", finished, "--dataset", made["evaluates"]["dataset"], "--model", "base")
    assert refused.returncode == 2
    assert "no trained head" in refused.stderr
