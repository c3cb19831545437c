"""Chats with trained models, as OpenAI's client asks for them."""

from __future__ import annotations

import json
import os
from threading import Event
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from service.openai_api.chat_endpoints import _while_connected
from service.openai_api.completions import Asked
from service.predict import process
from tests.service.openai_api import guide
from tests.service.openai_api.conftest import CHAT_MODEL, add_tuned, client_of
from tests.service.support import Service
from tests.worker.support import wait_until

if TYPE_CHECKING:
    from openai import OpenAI

    from adamss_core.spec import JobSpec
    from adamss_core.training.request import RunRequest, RunResult

pytestmark = pytest.mark.slow
SKY: Any = [{"role": "user", "content": "What colour is sky?"}]


def ask(openai: OpenAI, tuned_model: str, **more: Any) -> Any:
    return openai.chat.completions.create(**{"model": tuned_model, "messages": SKY, "temperature": 0, **more})


def test_trained_model_answers_and_its_tokens_are_counted(openai: OpenAI, tuned: list[str]) -> None:
    answer = ask(openai, tuned[0])
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("It is blue.", "stop")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens > 5
    assert answer.model == tuned[0]


def test_stream_has_the_same_text_in_several_chunks(openai: OpenAI, tuned: list[str]) -> None:
    chunks = list(ask(openai, tuned[0], stream=True, stream_options={"include_usage": True}))
    parts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(filter(None, parts)) == "It is blue."
    assert len(list(filter(None, parts))) > 1
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == ask(openai, tuned[0]).usage


def test_loras_of_one_base_are_swapped_without_a_trace(openai: OpenAI, chat_service: Service, tuned: list[str]) -> None:
    """Each answers as it does alone in a fresh process, whichever answered before it."""

    def answers() -> list[str]:
        return [ask(openai, model, max_tokens=20).choices[0].message.content for model in tuned]

    alone = []
    for model in tuned:
        chat_service.context.predictor._end()
        alone.append(ask(openai, model, max_tokens=20).choices[0].message.content)
    assert alone[0] != alone[1]
    child = chat_service.context.predictor._child
    assert answers() == alone
    assert answers()[::-1] == alone[::-1]
    assert chat_service.context.predictor._child is child


def test_checkpoints_answer_too(openai: OpenAI, chat_service: Service, tuned: list[str]) -> None:
    from openai import NotFoundError

    job_id = tuned[0].rpartition(":")[2]
    checkpoints = list(openai.fine_tuning.jobs.checkpoints.list(job_id))
    last = checkpoints[0]
    assert ask(openai, last.fine_tuned_model_checkpoint).choices[0].message.content == "It is blue."
    path = f"/jobs/{job_id}/predict"
    body = {"inputs": ["What colour is sky?"], "checkpoint": last.step_number, "max_new_tokens": 20}
    native = chat_service.client.post(path, json=body).json()
    assert (native["data"][0]["text"], native["artifact"], native["checkpoint"]) == (
        "It is blue.", None, last.step_number
    )  # fmt: skip
    with pytest.raises(NotFoundError):
        ask(openai, f"{tuned[0]}:ckpt-step-3")
    refused = chat_service.client.post(path, json=body | {"checkpoint": 3})
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "checkpoint")


def test_sampling_follows_seed_choices_stop_and_length(openai: OpenAI, tuned: list[str]) -> None:
    drawn = {"temperature": 2, "n": 3, "max_tokens": 12}
    first, again = (ask(openai, tuned[0], seed=7, **drawn) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) > 1
    assert {choice.finish_reason for choice in first.choices} <= {"stop", "length"}
    narrow = ask(openai, tuned[0], temperature=2, top_p=1e-6, seed=1)
    assert narrow.choices[0].message.content == "It is blue."

    stopped = ask(openai, tuned[0], stop=["is bl", "zzz"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("It ", "stop")
    chunks = ask(openai, tuned[0], stop="is bl", stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "It "
    short = ask(openai, tuned[0], max_completion_tokens=2)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 2)


def test_log_probabilities_are_those_of_the_tokens(openai: OpenAI, tuned: list[str]) -> None:
    (choice,) = ask(openai, tuned[0], logprobs=True, top_logprobs=2).choices
    entries = choice.logprobs.content
    assert "".join(entry.token for entry in entries) == "It is blue."
    assert all(entry.logprob <= 0 for entry in entries)
    assert all(entry.top_logprobs[0].logprob == entry.logprob for entry in entries)  # the likeliest was taken
    assert entries[0].bytes == list(entries[0].token.encode())


@pytest.mark.parametrize(
    ("param", "changes"),
    [
        ("messages", {"messages": [{"role": "user", "content": "word " * 300}]}),
        ("messages", {"messages": [{"role": "assistant", "content": "I ended."}]}),
        ("messages", {"messages": guide.IMAGE["messages"][:1]}),
        ("messages", {"messages": []}),
        ("messages", {"max_tokens": 1_000}),
        ("model", {"model": "gpt-4o-mini"}),
        ("model", {"model": f"ft:{CHAT_MODEL}:default::job_aaaaaaaaaaaaaaaaaaaa"}),
        ("response_format", {"response_format": {"type": "json_object"}}),
        ("tool_choice", {"tools": [guide.WEATHER], "tool_choice": "required"}),
        ("temperature", {"temperature": 3}),
        ("frequency_penalty", {"frequency_penalty": 0.5}),
        ("top_logprobs", {"top_logprobs": 3}),
        ("tools", {"tools": [{"type": "function"}]}),
    ],
)
def test_bad_input_names_the_field(openai: OpenAI, tuned: list[str], param: str, changes: dict[str, Any]) -> None:
    from openai import BadRequestError, NotFoundError

    with pytest.raises((BadRequestError, NotFoundError)) as caught:
        ask(openai, tuned[0], **changes)
    assert str(caught.value.param).partition(".")[0] == param
    with pytest.raises((BadRequestError, NotFoundError)):  # before the first chunk, with a status of its own
        ask(openai, tuned[0], stream=True, **changes)


def test_completions_belong_to_other_models_and_embeddings_to_none(openai: OpenAI, tuned: list[str]) -> None:
    from openai import BadRequestError, NotFoundError

    with pytest.raises(BadRequestError, match="chat/completions"):
        openai.completions.create(model=tuned[0], prompt="What")
    with pytest.raises(NotFoundError):
        openai.embeddings.create(model=tuned[0], input="What")


def test_models_of_another_project_do_not_exist(chat_service: Service, address: str, tuned: list[str]) -> None:
    from openai import NotFoundError

    with pytest.raises(NotFoundError):
        ask(client_of(address, chat_service.key_for("elsewhere")), tuned[0])


def test_who_leaves_a_stream_frees_the_place(
    openai: OpenAI, chat_service: Service, tuned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text under way is cancelled; its process stays, and answers the next request."""
    sent: list[bytes] = []
    write = os.write

    def spy(handle: int, content: bytes) -> int:
        sent.append(content)
        return write(handle, content)

    monkeypatch.setattr(os, "write", spy)
    predictor = chat_service.context.predictor
    ask(openai, tuned[1])
    child = predictor._child
    drawn = {"temperature": 2, "seed": 3, "n": 8, "max_tokens": 60}
    stream = ask(openai, tuned[1], stream=True, **drawn)
    next(iter(stream))
    stream.close()
    wait_until(lambda: predictor._waiting == 0, 60)
    assert process.CANCEL in sent
    assert ask(openai, tuned[0]).choices[0].message.content == "It is blue."
    assert predictor._child is child


def test_who_leaves_while_waiting_cancels_the_work() -> None:
    none: list[dict[str, Any]] = []
    asked = Asked("ft:…", (piece for piece in none), Event())

    class Gone:
        async def receive(self) -> dict[str, str]:
            return {"type": "http.disconnect"}

    async def call() -> bool:
        return await _while_connected(cast(Any, Gone()), asked, lambda: asked.cancelled.wait(60))

    assert anyio.run(call)


def test_model_of_prompts_continues_texts(
    openai: OpenAI, chat_service: Service, chat_runs: list[tuple[JobSpec, RunRequest, RunResult]]
) -> None:
    from openai import BadRequestError

    spec, asked, outcome = chat_runs[0]
    block = spec.dataset.model_copy(update={"messages": None, "prompt": "prompt", "completion": "completion"})
    model = add_tuned(chat_service, spec.model_copy(update={"dataset": block}), asked, outcome)
    drawn: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": 6}
    # Which of them so small a model continues, and does not end at once, depends on the processor's rounding.
    for prompt in ("What colour is", "It is", "What", "colour", "the"):
        drawn["prompt"] = prompt
        (choice,) = openai.completions.create(**drawn, logprobs=1).choices
        if choice.finish_reason == "length":
            break
    assert (choice.finish_reason, len(choice.logprobs.tokens)) == ("length", 6)
    assert "".join(choice.logprobs.tokens) == choice.text
    # Chunks before the last have no reason of an end, as those of OpenAI: their type, which is that of a whole answer,
    # does not foresee that.
    loose = openai.with_options(_extra_kwargs={"_strict_response_validation": False})
    chunks = list(loose.completions.create(**drawn, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == choice.text
    reasons: list[Any] = [chunk.choices[0].finish_reason for chunk in chunks]
    assert (set(reasons[:-1]), reasons[-1]) == ({None}, "length")
    refused: list[dict[str, Any]] = [{"prompt": " "}, {"prompt": "word " * 300}, {"echo": True}]
    for changes in refused:
        with pytest.raises(BadRequestError) as caught:
            openai.completions.create(**drawn | changes)
        assert caught.value.param == next(iter(changes))
    with pytest.raises(BadRequestError, match="/v1/completions"):
        ask(openai, model)


def test_too_many_at_once_are_told_when_to_come_back(openai: OpenAI, chat_service: Service, tuned: list[str]) -> None:
    from openai import RateLimitError

    from service.predict.process import WAITING

    predictor = chat_service.context.predictor
    predictor._waiting += WAITING + 1
    try:
        with pytest.raises(RateLimitError) as caught:
            ask(openai, tuned[0])
        assert int(caught.value.response.headers["retry-after"]) > 0
    finally:
        predictor._waiting -= WAITING + 1


def test_calls_of_tools_are_found_in_the_forms_of_templates() -> None:
    from service.openai_api.tool_calls import find_calls

    written = json.dumps({"name": "get_weather", "arguments": {"place": "Oslo"}})
    for text in (
        written,
        f"<tool_call>\n{written}\n</tool_call>",
        f"[TOOL_CALLS] [{written}]",
        f"```json\n{written}\n```",
        json.dumps({"name": "get_weather", "parameters": {"place": "Oslo"}}),
        json.dumps({"type": "function", "function": {"name": "get_weather", "arguments": '{"place": "Oslo"}'}}),
    ):
        content, (call,) = find_calls(text, {"get_weather"})
        assert (content, call.function.name) == ("", "get_weather"), text
        assert json.loads(call.function.arguments) == {"place": "Oslo"}
    two = f"Let me look. <tool_call>{written}</tool_call>\n<tool_call>{written}</tool_call>"
    content, calls = find_calls(two, {"get_weather"})
    assert (content, len(calls)) == ("Let me look.", 2)
    for plain in (
        'A set is {"name": "other"} or {1, 2}.',
        '{"name": {"first": "Ann"}}',
        '{"name": ["Ann"], "function": {"name": {}}}',
    ):
        assert find_calls(plain, {"get_weather"}) == (plain, [])
    # An answer may be long, and is searched in the process that serves all: the time must not grow as its square.
    assert find_calls("\n" * 200_000 + f"x {written}", {"get_weather"})[0] == "\n" * 200_000 + "x"
