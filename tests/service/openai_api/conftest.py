"""A service with a tiny chat model, and the real client of OpenAI for it: its types validate every answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service.shared.settings import Settings
from tests.security.support import served
from tests.service.support import Service, running

if TYPE_CHECKING:
    from openai import OpenAI

CHAT_MODEL = "tiny-chat"


@pytest.fixture(scope="session")
def chat_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    from tests.adamss_core.training.chats import build_llama

    settings = Settings(
        home=tmp_path_factory.mktemp("openai") / "home",
        openai_models={"gpt-4o-mini": CHAT_MODEL},
        predict_timeout_seconds=240.0,
    )
    build_llama(settings.files.model(CHAT_MODEL))
    with running(settings) as service:
        yield service


@pytest.fixture(scope="session")
def address(chat_service: Service) -> Iterator[str]:
    with served(chat_service.app) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="session")
def openai(chat_service: Service, address: str) -> OpenAI:
    """The client, which does not repeat a call, and refuses an answer that is not of its type."""
    return client_of(address, chat_service.client.headers["authorization"].removeprefix("Bearer "))


def client_of(address: str, key: str, **options: Any) -> OpenAI:
    from openai import OpenAI

    return OpenAI(base_url=address, api_key=key, max_retries=0, _strict_response_validation=True, **options)


def write(folder: Path, *lines: str, name: str = "chats.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
