from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamss_core.spec import reader_of
from adamss_core.spec.split import held_out
from adamss_core.training.data import Data, read_rows
from adamss_core.training.errors import TrainingError
from adamss_core.training.request import RunRequest
from adamss_core.training.tasks import task_of
from tests.adamss_core.training.support import Recorder, job, request, texts, write_rows

TRAIN = "ds_" + "a" * 12


def load_data(asked: RunRequest, recorder: Recorder) -> Data:
    return task_of(asked.spec).load_data(asked, recorder)


def test_rows_without_text_or_label_are_counted_and_left_out(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"text": " a film ", "label": 1, "other": None},
        {"text": "", "label": 1},
        {"text": "  ", "label": 0},
        {"text": None, "label": 0},
        {"text": "a book", "label": None},
        {"text": "a book", "label": " "},
        {"text": 12, "label": 0},
    ]
    read = read_rows(write_rows(tmp_path / "rows.jsonl", rows), reader_of(job()))
    assert read.columns == {"text": ["a film", "12"], "label": ["1", "0"]}
    assert read.numbers == [1, 7]
    assert read.left_out == {"without a text": 3, "without a label": 2}


def test_labels_of_any_type_become_class_names_in_order(tmp_path: Path) -> None:
    labels = [10, 9, 9.0, "9", 0.5, True, "zebra", -1, "apple", 10.0]
    rows = [{"text": "x", "label": label} for label in labels]
    data = load_data(request(tmp_path / "model", tmp_path / "job", rows), Recorder())
    assert data.classes == ["-1", "0.5", "9", "10", "apple", "true", "zebra"]
    assert Counter(data.train["label"] + data.evaluation["label"])["9"] == 3


def test_labels_of_a_separate_file_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    train = [{"text": "x", "label": label} for label in ("1.0", "0.0", "True", "1.0")]
    evaluation = [{"text": "x", "label": label} for label in (1, 0.0, True, "1")]
    written = write_rows(tmp_path / "eval.jsonl", evaluation)
    asked = request(tmp_path / "model", tmp_path / "job", train, eval_file=written)
    recorder = Recorder()
    data = load_data(asked, recorder)
    assert data.classes == ["0", "1", "true"]
    assert data.evaluation["label"] == ["1", "0", "true", "1"]
    assert "unknown_labels" not in recorder.event_types()


def test_text_pairs_are_read_from_their_column(tmp_path: Path) -> None:
    rows = [{"text": "a", "second": "b", "label": 0}, {"text": "a", "second": "", "label": 0}]
    spec = job(dataset={"train": TRAIN, "text_pair": "second"})
    read = read_rows(write_rows(tmp_path / "rows.jsonl", rows), reader_of(spec))
    assert (read["text"], read["text_pair"], read.left_out.total()) == (["a"], ["b"], 1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "No row"),
        ('{"text": "", "label": 1}\n', "No row"),
        ('{"text": "a", "label": 1}\n{"text": "b", "label": 1}\n', "same label, '1'"),
        ('{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n', "label of its own"),
        ('{"text": "a", "label": 1}\n{"text": "b"}\n', "Row 2 has no column 'label'"),
        ('{"text": "a", "label": 1}\n{"text": \n', "Row 2 is not JSON"),
        ('["text"]\n', "Row 1 is not an object"),
    ],
)
def test_bad_data_is_refused_with_a_remedy(tmp_path: Path, content: str, words: str) -> None:
    asked = request(tmp_path / "model", tmp_path / "job")
    asked.train_file.write_text(content)
    with pytest.raises(TrainingError, match=words) as caught:
        load_data(asked, Recorder())
    assert caught.value.code == "bad_data"
    assert caught.value.hint


def test_an_evaluation_file_is_used_as_it_is(tmp_path: Path) -> None:
    recorder = Recorder()
    held = [*texts(10, seed=5), {"text": "x", "label": "unheard of"}, {"text": "", "label": "bad"}]
    asked = request(tmp_path / "model", tmp_path / "job", eval_file=write_rows(tmp_path / "eval.jsonl", held))
    data = load_data(asked, recorder)
    assert (len(data.train), len(data.evaluation), data.classes) == (208, 10, ["bad", "good"])
    assert [(name, info["rows"]) for name, _, info in recorder.events[:2]] == [
        ("unknown_labels", 1),
        ("rows_left_out", 1),
    ]
    said = "1 evaluation row is left out: labels that the training data do not have ('unheard of')."
    assert data.unknown["eval"].startswith(said)
    assert recorder.events[0][1] == data.unknown["eval"]


def test_an_evaluation_file_of_other_labels_is_refused(tmp_path: Path) -> None:
    held = write_rows(tmp_path / "eval.jsonl", [{"text": "x", "label": "unheard of"}])
    with pytest.raises(TrainingError, match="no row to evaluate on"):
        load_data(request(tmp_path / "model", tmp_path / "job", eval_file=held), Recorder())


@given(
    st.dictionaries(st.text(max_size=3), st.integers(1, 200), min_size=1, max_size=12),
    st.floats(0.001, 0.999),
)
def test_held_out_rows_are_in_proportion(counts: dict[str, int], fraction: float) -> None:
    taken = held_out(counts, fraction)
    assert all(0 <= taken[label] <= rows - 1 for label, rows in counts.items())
    room = sum(rows - 1 for rows in counts.values())
    assert sum(taken.values()) == min(room, max(1, round(fraction * sum(counts.values()))))


def test_the_split_of_a_job_is_the_number_a_dry_run_would_say(tmp_path: Path) -> None:
    data = load_data(request(tmp_path / "model", tmp_path / "job", spec=job()), Recorder())
    counts = Counter(row["label"] for row in texts(208))
    assert len(data.evaluation) == sum(held_out(counts, 0.1).values())


def test_several_files_with_groups_are_divided_and_said(tmp_path: Path) -> None:
    first = write_rows(tmp_path / "one.jsonl", [{**row, "who": f"w{i % 9}"} for i, row in enumerate(texts(60))])
    second = write_rows(
        tmp_path / "two.jsonl", [{**row, "who": f"w{i % 9}"} for i, row in enumerate(texts(30, seed=1))]
    )
    train = [{"id": "ds_aaaaaaaa"}, {"id": "ds_bbbbbbbb", "weight": 2}]
    spec = job(dataset={"train": train, "group": "who", "eval_fraction": 0.2})
    asked = replace(
        request(tmp_path / "model", tmp_path / "job", spec=spec), train_file=first, more_train_files=(second,)
    )
    assert RunRequest.from_json(asked.to_json()) == asked
    recorder = Recorder()
    data = load_data(asked, recorder)
    groups = [f"w{i % 9}" for i in range(60)] + [f"w{i % 9}" for i in range(30)]
    sides = [{groups[number - 1] for number in side.numbers} for side in (data.train, data.evaluation)]
    assert not sides[0] & sides[1]
    said = {kind: (message, facts) for kind, message, facts in recorder.events}
    message, facts = said["data_loaded"]
    assert sum(facts["train_sets"]) == len(data.train)
    assert "of ds_bbbbbbbb)" in message
    assert (facts["held_out"]["group"], facts["held_out"]["stratified"]) == ("who", False)
    assert "are held out" in said["held_out_by_group"][0]


def test_a_split_that_lacks_a_class_is_not_called_stratified(tmp_path: Path) -> None:
    rows = [*texts(40), {"text": "once", "label": "rare"}]
    data = load_data(request(tmp_path / "model", tmp_path / "job", rows), Recorder())
    assert data.held_out["stratified"] is False
    assert load_data(request(tmp_path / "model", tmp_path / "two", texts(40)), Recorder()).held_out["stratified"]
