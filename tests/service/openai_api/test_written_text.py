"""Texts as `POST /jobs/{id}/predict/stream` sends them; here, because they share the chat model that was trained."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from service.client import ApiError, Client
from tests.service.openai_api.conftest import CHAT_MODEL, add_tuned
from tests.service.support import Service, error_of

if TYPE_CHECKING:
    from adamss_core.spec import JobSpec
    from adamss_core.training.request import RunRequest, RunResult

pytestmark = pytest.mark.slow
SKY = "What colour is sky?"
TOKENS = 12


@pytest.fixture(scope="module")
def client(chat_service: Service, address: str) -> Iterator[Client]:
    key = chat_service.client.headers["authorization"].removeprefix("Bearer ")
    with Client(address.removesuffix("/v1"), key) as client:
        yield client


@pytest.fixture(scope="module")
def job(chat_service: Service, chat_runs: list[tuple[JobSpec, RunRequest, RunResult]]) -> str:
    """A job of this file's own: others delete theirs."""
    return add_tuned(chat_service, *chat_runs[0]).rpartition(":")[2]


def plain_answer(folder: Path) -> str:
    """Answer as transformers alone does with the base model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).float()
    chat = [{"role": "user", "content": SKY}]
    given: Any = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    made = model.generate(**given, do_sample=False, max_new_tokens=TOKENS)[0]
    return str(tokenizer.decode(made[given["input_ids"].shape[1] :], skip_special_tokens=True))


def joined(pieces: list[Any], of: str) -> str:
    return "".join(piece.get("text", "") for piece in pieces if piece["of"] == of)


def test_text_comes_in_pieces_and_the_base_model_s_after_it(client: Client, job: str) -> None:
    pieces = list(client.predict_stream(job, SKY, with_base=True, max_new_tokens=TOKENS))
    assert joined(pieces, "trained") == "It is blue."
    assert sum("text" in piece for piece in pieces if piece["of"] == "trained") > 1
    order = [piece["of"] for piece in pieces]
    assert order == sorted(order, reverse=True)
    assert pieces[0].get("prompt_tokens", 0) > 5
    last = [piece for piece in pieces if "finish" in piece]
    assert (last[0]["of"], last[0]["finish"]) == ("trained", "stop")
    (whole,) = client.predict(job, [SKY], with_base=True, max_new_tokens=TOKENS)
    assert (whole["text"], whole["base"]["text"]) == ("It is blue.", joined(pieces, "base"))
    assert whole["base"]["text"] != whole["text"]
    assert last[1]["tokens"] == whole["base"]["tokens"]


def test_base_model_writes_what_it_writes_without_the_adapter(client: Client, chat_service: Service, job: str) -> None:
    """An adapter that is switched off leaves no trace, and is on again afterwards; a checkpoint does the same."""
    expected = plain_answer(chat_service.settings.files.model(CHAT_MODEL))
    step = max(one["step"] for one in client.checkpoints(job))
    for more in ({}, {"checkpoint": step}):
        (whole,) = client.predict(job, [SKY], with_base=True, max_new_tokens=TOKENS, **more)
        assert whole["base"]["text"] == expected
        (again,) = client.predict(job, [SKY], max_new_tokens=TOKENS, **more)
        assert again["text"] == whole["text"] == "It is blue."


def test_a_prompt_is_whole_beside_the_usual_length_of_answers(client: Client, job: str) -> None:
    """Once, the usual 128 tokens of an answer left one of this model's 128 positions for the prompt."""
    assert client.predict(job, [SKY])[0]["text"] == "It is blue."


def test_who_closes_the_stream_stops_the_model(
    client: Client, chat_service: Service, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that would write for a minute; how its process is told is tested with OpenAI's chats."""
    stopped = Event()

    def follow(order: Any, cancelled: Event) -> Generator[dict[str, Any]]:
        try:
            yield {"piece": {"prompt_tokens": 3}}
            cancelled.wait(60)
        finally:
            if cancelled.is_set():
                stopped.set()

    monkeypatch.setattr(chat_service.context.predictor, "follow", follow)
    pieces = client.predict_stream(job, SKY)
    assert next(pieces) == {"of": "trained", "prompt_tokens": 3}
    pieces.close()
    assert stopped.wait(60)


def test_refusals_name_the_field(client: Client, chat_service: Service, job: str) -> None:
    cases: list[tuple[dict[str, Any], int, str, str]] = [
        ({"inputs": [SKY, SKY]}, 422, "invalid_input", "inputs"),
        ({"inputs": [{"messages": []}]}, 422, "invalid_input", "inputs[0].messages"),
        ({"inputs": [SKY], "temperature": 3}, 422, "invalid_field", "temperature"),
        ({"inputs": [SKY], "checkpoint": 3}, 404, "no_checkpoint", "checkpoint"),
        ({"inputs": [SKY * 1_000]}, 422, "context_length_exceeded", "inputs[0].messages"),
    ]
    for body, status, code, param in cases:
        response = chat_service.client.post(f"/jobs/{job}/predict/stream", json=body)
        error = error_of(response.json())
        assert (response.status_code, error["code"], error["param"]) == (status, code, param), body
    with pytest.raises(ApiError, match="job_nothere1234"):
        next(client.predict_stream("job_nothere1234", SKY))
