"""Files and models, as OpenAI's client asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.service.openai_api import guide
from tests.service.openai_api.conftest import CHAT_MODEL, client_of, write
from tests.service.support import Service

if TYPE_CHECKING:
    from openai import OpenAI

pytestmark = pytest.mark.slow


def test_file_is_stored_listed_returned_and_deleted(openai: OpenAI, chat_service: Service, tmp_path: Path) -> None:
    path = write(tmp_path, *guide.lines(guide.CHAT, 3), "", *guide.lines(guide.WEIGHTED, 2))
    with path.open("rb") as file:
        made = openai.files.create(file=file, purpose="fine-tune")
    assert (made.bytes, made.filename, made.purpose) == (path.stat().st_size, "chats.jsonl", "fine-tune")
    assert openai.files.retrieve(made.id) == made
    assert openai.files.content(made.id).content == path.read_bytes()
    dataset = chat_service.client.get(f"/datasets/{made.id}").json()
    assert dataset["rows"] == 5
    assert dataset["size_bytes"] > 2 * made.bytes - 200  # the quota counts both forms
    assert openai.files.delete(made.id).deleted
    assert not list(chat_service.settings.files.datasets.glob(f"{made.id}*"))
    with pytest.raises(Exception, match="does not exist") as caught:
        openai.files.retrieve(made.id)
    assert type(caught.value).__name__ == "NotFoundError"


def test_the_same_file_twice_is_two_files(openai: OpenAI, tmp_path: Path) -> None:
    content = write(tmp_path, *guide.lines(guide.CHAT)).read_bytes()
    ids = {openai.files.create(file=("chats.jsonl", content), purpose="fine-tune").id for _ in range(2)}
    assert len(ids) == 2


def test_files_are_paged_by_id_in_both_orders(openai: OpenAI, tmp_path: Path) -> None:
    content = write(tmp_path, *guide.lines(guide.CHAT)).read_bytes()
    made = [openai.files.create(file=(f"{name}.jsonl", content), purpose="fine-tune").id for name in "abc"]
    newest = [file.id for file in openai.files.list(limit=2)]  # follows the pages
    assert newest[:3] == made[::-1]
    assert [file.id for file in openai.files.list(order="asc", after=made[0])] == made[1:]
    assert openai.files.list(purpose="batch").data == []


def test_a_data_set_made_otherwise_is_a_file_of_its_rows(openai: OpenAI, chat_service: Service) -> None:
    made = chat_service.upload("prompt,completion\n" + "Sky: ,blue\n" * 6)
    rows = openai.files.content(made["id"]).content.splitlines()
    assert json.loads(rows[0]) == {"prompt": "Sky: ", "completion": "blue"}


@pytest.mark.parametrize("example", [guide.CHAT, guide.WEIGHTED, guide.TOOLS, guide.LEGACY_FUNCTIONS, guide.COMPLETION])
def test_examples_of_the_guide_are_accepted(openai: OpenAI, example: dict[str, Any], tmp_path: Path) -> None:
    with write(tmp_path, *guide.lines(example)).open("rb") as file:
        assert openai.files.create(file=file, purpose="fine-tune").status == "processed"


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ("{not json", "row 4 .line 4"),
        (json.dumps(guide.IMAGE), "image_url"),
        (json.dumps({"messages": [{"role": "user", "content": "No answer?"}]}), "line 4"),
        (json.dumps({"messages": [{"role": "narrator", "content": "Once."}]}), "line 4"),
    ],
)
def test_one_wrong_line_is_named_and_nothing_is_stored(
    openai: OpenAI, chat_service: Service, bad: str, word: str, tmp_path: Path
) -> None:
    from openai import BadRequestError

    content = write(tmp_path, *guide.lines(guide.CHAT, 3), bad, *guide.lines(guide.CHAT, 30)).read_bytes()
    before = {path.name for path in chat_service.settings.files.datasets.iterdir()}
    with pytest.raises(BadRequestError, match=word) as caught:
        openai.files.create(file=("chats.jsonl", content), purpose="fine-tune")
    assert caught.value.param == "file"
    assert {path.name for path in chat_service.settings.files.datasets.iterdir()} == before


@pytest.mark.parametrize(
    ("example", "word"), [(guide.PREFERENCE, "dpo"), (guide.REINFORCEMENT, "without a trained answer|never answers")]
)
def test_examples_of_other_methods_are_refused_in_words(
    openai: OpenAI, example: dict[str, Any], word: str, tmp_path: Path
) -> None:
    from openai import BadRequestError

    with write(tmp_path, *guide.lines(example)).open("rb") as file, pytest.raises(BadRequestError, match=word):
        openai.files.create(file=file, purpose="fine-tune")


def test_other_purposes_and_parts_are_refused(openai: OpenAI, tmp_path: Path) -> None:
    from openai import BadRequestError

    content = write(tmp_path, *guide.lines(guide.CHAT)).read_bytes()
    with pytest.raises(BadRequestError) as caught:
        openai.files.create(file=content, purpose="batch")
    assert caught.value.param == "purpose"
    with pytest.raises(BadRequestError) as caught:
        openai.files.create(file=content, purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600})
    assert str(caught.value.param).startswith("expires_after")


def test_files_of_another_project_do_not_exist(
    openai: OpenAI, chat_service: Service, address: str, tmp_path: Path
) -> None:
    from openai import NotFoundError

    with write(tmp_path, *guide.lines(guide.CHAT)).open("rb") as file:
        made = openai.files.create(file=file, purpose="fine-tune")
    stranger = client_of(address, chat_service.key_for("elsewhere"))
    for call in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
        with pytest.raises(NotFoundError):
            call(made.id)
    assert stranger.files.list().data == []


def test_models_are_the_bases_and_the_mapped_names(openai: OpenAI) -> None:
    from openai import BadRequestError, NotFoundError

    assert {CHAT_MODEL, "gpt-4o-mini"} <= {model.id for model in openai.models.list()}
    assert openai.models.retrieve("gpt-4o-mini").owned_by == "adamss"
    with pytest.raises(NotFoundError):
        openai.models.retrieve("ft:tiny-chat:default::job_aaaaaaaaaaaaaaaaaaaa")
    with pytest.raises(BadRequestError, match="belongs to the operator"):
        openai.models.delete(CHAT_MODEL)
