"""An error response names every field at fault, each on a line of its own."""

from __future__ import annotations

import httpx

from service.client.errors import api_error

FIRST = {"type": "invalid_request", "code": "unknown_column", "message": "No such column.", "param": "dataset.text"}


def error(**more: object) -> str:
    return str(api_error(httpx.Response(422, json={"error": {**FIRST, **more}})))


def test_one_field() -> None:
    assert error() == "dataset.text: No such column."


def test_a_message_that_begins_with_its_field() -> None:
    assert error(message="dataset.text must be a string.") == "dataset.text must be a string."


def test_several_fields() -> None:
    also = [
        {"code": "unknown_model", "message": "No such model.", "param": "base_model"},
        {"code": "other", "message": "No.", "param": None},
    ]
    assert error(also=also) == "dataset.text: No such column.\nbase_model: No such model.\nNo."
