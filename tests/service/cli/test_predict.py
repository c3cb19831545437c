"""Reading, sending and writing of `adamss predict`; its requests are tested end to end."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from adamss_core.spec import JobSpec
from adamss_core.spec.tasks import register, unregister
from service.cli.output import CliError
from service.cli.predict import (
    BATCH,
    answer_columns,
    batches,
    beside_base,
    flattened,
    from_arguments,
    predictions,
    print_streamed,
    spec_of,
    with_system,
    write_csv,
)
from service.cli.predict_rows import asked, columns_of, from_rows, numbered, places_of
from service.client import ApiError, Client
from tests.toy_task.record import NAME, RECORDS


@pytest.fixture
def toy() -> Iterator[None]:
    register(RECORDS)
    yield
    unregister(NAME)


def spec(**fields: Any) -> JobSpec:
    dataset = {"train": "ds_aaaaaaaa", **fields.pop("dataset", {})}
    return JobSpec.model_validate({"name": "a", "base_model": "b", "dataset": dataset, **fields})


def of_file(job: JobSpec, file: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    return from_rows(job, numbered(file), file)


def test_a_chat_is_asked_up_to_its_last_answer() -> None:
    chat = [{"role": role, "content": role[0]} for role in ("user", "assistant", "user", "assistant")]
    assert asked(chat) == (chat[:3], {"given": "a"})
    assert asked(chat[:3]) == (chat[:3], {})
    assert asked(chat[1:2]) == (chat[1:2], {})
    job = spec(task="text-generation", dataset={"messages": "messages"})
    assert list(from_rows(job, [("row 1", {"messages": chat})], Path("a"))) == [
        ({"messages": chat, "given": "a"}, {"messages": chat[:3]})
    ]


def test_rows_have_the_numbers_of_their_file() -> None:
    problems = [{"row": row, "message": "is broken"} for row in (1, 4)] + [{"row": 3, "left_out": False}]
    found: Any = {"problems": problems, "problem_count": 3}
    assert [places_of(found)(number) for number in (1, 2, 3)] == ["row 2", "row 3", "row 5"]
    assert places_of(found | {"problem_count": 200})(1) == "row 1 of those that can be read"


def test_inputs_from_arguments() -> None:
    assert [sent for _, sent in from_arguments(spec(), ["a", "b"])] == [{"text": "a"}, {"text": "b"}]
    pairs = spec(dataset={"text_pair": "second"})
    assert [sent for _, sent in from_arguments(pairs, ["a", "b"])] == [{"text": "a", "text_pair": "b"}]
    with pytest.raises(CliError, match="text and text_pair"):
        from_arguments(pairs, ["a", "b", "c"])
    chat = spec(task="text-generation", dataset={"messages": "messages"})
    assert from_arguments(chat, ["hi"])[0][1] == {"messages": [{"role": "user", "content": "hi"}]}


def test_inputs_from_image_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    images = spec(task="image-classification", dataset={"image": "picture"})
    expected = {"image": base64.b64encode(b"png").decode()}
    assert from_arguments(images, [str(tmp_path / "a.png")])[0][1] == expected
    (tmp_path / "rows.csv").write_text("picture\na.png\n")
    assert [sent for _, sent in of_file(images, tmp_path / "rows.csv")] == [expected]


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl"])
def test_inputs_from_files(tmp_path: Path, name: str) -> None:
    lines = {
        "rows.csv": 'id,review\n1,"a, b"\n',
        "rows.tsv": "id\treview\n1\ta, b\n",
        "rows.jsonl": json.dumps({"id": "1", "review": "a, b"}) + "\n",
    }
    (tmp_path / name).write_text("\ufeff" + lines[name], encoding="utf-8")
    rows = list(of_file(spec(dataset={"text": "review"}), tmp_path / name))
    assert rows == [({"id": "1", "review": "a, b"}, {"text": "a, b"})]


def test_columns_of_an_instruction_are_joined(tmp_path: Path) -> None:
    columns = {"prompt": ["do", "about"], "completion": "out", "system": "sys"}
    instructed = spec(task="text-generation", dataset=columns)
    (tmp_path / "rows.csv").write_text("do,about,sys\nName it.,The sky,Be short.\nName it.,,\n")
    assert [sent for _, sent in of_file(instructed, tmp_path / "rows.csv")] == [
        {"prompt": "Name it.\n\nThe sky", "system": "Be short."},
        {"prompt": "Name it."},
    ]


def test_unsuitable_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("id,review\n1,a\n2,\n")
    with pytest.raises(CliError, match="has no column 'text'"):
        list(of_file(spec(), file))
    file.write_bytes(b"text\n\xff\xfe\n")
    with pytest.raises(CliError, match="not UTF-8"):
        list(of_file(spec(), file))


def test_predictions_survive_a_later_error(tmp_path: Path) -> None:
    """Once, all were written at the end, and the first error lost an hour of predictions."""

    def answered() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        yield {"id": "1", "text": "a"}, {"value": 1.25}
        raise ApiError("The model takes too long.", status=504, code="predict_timeout")

    regression = spec(problem_type="regression")
    with pytest.raises(ApiError):
        write_csv(tmp_path / "out.csv", answered(), ["id", "text"], answer_columns(regression))
    assert (tmp_path / "out.csv").read_text() == "id,text,predicted_value\n1,a,1.25\n"


def test_all_rows_are_validated_before_the_first_request(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("words,id\na,1\n")
    with pytest.raises(CliError, match="no column 'text'"):
        columns_of(of_file(spec(), file))
    file.write_text("text,id\na,1\nb,2\n")
    assert columns_of(of_file(spec(), file)) == ["text", "id"]


def test_a_row_with_an_empty_input_has_a_line_without_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, it ended the command, and no row was answered."""
    (file := tmp_path / "rows.csv").write_text("text,id\na,1\n ,2\nb,3\n")
    asked_for: list[Any] = []

    class Echo:
        """A client whose model repeats its input."""

        def predict(self, job: str, inputs: list[Any]) -> list[Any]:
            asked_for.extend(inputs)
            return [{"label": one["text"], "score": 1.0} for one in inputs]

    columns = columns_of(of_file(spec(), file))
    assert "no answer 1 row with an empty input" in capsys.readouterr().err
    answered = predictions(cast(Client, Echo()), "job_a", of_file(spec(), file), {})
    write_csv(tmp_path / "out.csv", answered, columns, answer_columns(spec()))
    assert asked_for == [{"text": "a"}, {"text": "b"}]
    assert list(csv.reader((tmp_path / "out.csv").read_text().splitlines())) == [
        ["text", "id", "no_answer", "predicted_label", "predicted_score"],
        ["a", "1", "", "a", "1.0000"],
        [" ", "2", "row 2: column 'text' is empty", "", ""],
        ["b", "3", "", "b", "1.0000"],
    ]


def test_requests_are_limited_in_rows_and_bytes() -> None:
    few: list[Any] = [({}, {"text": "a"})] * (2 * BATCH + 1)
    assert [len(batch) for batch in batches(few)] == [BATCH, BATCH, 1]
    large: list[Any] = [({}, {"image": "a" * 3_000_000})] * 3
    assert [len(batch) for batch in batches(large)] == [1, 1, 1]
    assert list(batches([])) == []


LABELLED = {"label": "good", "score": 0.98, "scores": {"good": 0.98}}
TEXTS = "text-classification"


@pytest.mark.parametrize(
    ("task", "problem_type", "answer", "shown"),
    [
        (TEXTS, None, LABELLED, {"predicted_label": "good", "predicted_score": "0.9800"}),
        ("image-classification", None, LABELLED, {"predicted_label": "good", "predicted_score": "0.9800"}),
        (TEXTS, "multi_label_classification", {"labels": ["a", "b"], "scores": {}}, {"predicted_labels": "a, b"}),
        (TEXTS, "regression", {"value": 1.25}, {"predicted_value": "1.25"}),
        ("token-classification", None, {"tokens": ["a"], "tags": ["O", None]}, {"predicted_tags": "O -"}),
        ("text-generation", None, {"text": "a haiku"}, {"predicted_generated": "a haiku"}),
        ("text-length", None, {"words": 2.5}, {"predicted_number_of_words": "2.50"}),
        ("text-length", None, {"of a later version": 1}, {"predicted_number_of_words": "-"}),
    ],
)
def test_an_answer_is_shown_as_the_record_of_the_task_says(
    toy: None, task: str, problem_type: str | None, answer: dict[str, Any], shown: dict[str, str]
) -> None:
    """Before: a task that the command did not name gave a KeyError."""
    parts = answer_columns(spec(task=task, problem_type=problem_type))
    assert {part.csv_name: part.text(answer) for part in parts} == shown


def test_a_job_of_an_unknown_task_is_refused_in_words() -> None:
    job = spec().model_dump(mode="json") | {"task": "text-length"}
    client = cast(Client, SimpleNamespace(get_job=lambda _: {"resolved": {"spec": job}}))
    with pytest.raises(CliError, match=r"cannot read the job's spec \(task: Input should be"):
        spec_of(client, "job_1")


def test_answers_go_into_a_file(tmp_path: Path) -> None:
    row = {"id": "1", "text": ["x", "é"]}
    write_csv(tmp_path / "out.csv", [(row, LABELLED)], ["id", "text"], answer_columns(spec()))
    with (tmp_path / "out.csv").open() as file:
        assert list(csv.DictReader(file)) == [
            {"id": "1", "text": '["x", "é"]', "predicted_label": "good", "predicted_score": "0.9800"}
        ]


def test_answers_of_the_base_model_have_columns_of_their_own(tmp_path: Path) -> None:
    parts = beside_base(answer_columns(spec()))
    prediction = {"label": "good", "score": 0.9, "base": {"label": "bad", "score": 0.6}}
    write_csv(tmp_path / "out.csv", [({"text": "a"}, flattened(prediction))], ["text"], parts)
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert (row["predicted_label"], row["predicted_base_label"]) == ("good", "bad")
    assert [part.title for part in parts][-1].startswith("base ")


def test_a_system_message_begins_a_chat() -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    assert with_system(chat, "Be short.")["messages"][0] == {"role": "system", "content": "Be short."}
    assert len(chat["messages"]) == 1
    with pytest.raises(CliError, match="--system"):
        with_system({"text": "a"}, "Be short.")


def test_a_stream_is_printed_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    asked_for: list[Any] = []

    def stream(*given: Any, **options: Any) -> Iterator[dict[str, str]]:
        asked_for.append((given, options))
        yield {"of": "trained"}
        for text in ("It is", " blue.\x1b[2J"):
            yield {"of": "trained", "text": text}
        yield {"of": "base", "text": "Red"}

    client = cast(Client, SimpleNamespace(predict_stream=stream))
    print_streamed(client, "job_a", [({}, {"text": "x"})], {"with_base": True})
    assert asked_for == [(("job_a", {"text": "x"}), {"with_base": True})]
    assert capsys.readouterr().out == "It is blue.\\x1b[2J\nbase model:\nRed\n"
    with pytest.raises(CliError, match="one prompt"):
        print_streamed(client, "job_a", [({}, {})] * 2, {})
