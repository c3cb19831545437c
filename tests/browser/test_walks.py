"""Walks from a dropped file to a prediction, in which nobody types the name of a field: one for each kind of data."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.browser.conftest import SECONDS, Tab
from tests.e2e.conftest import Up
from tests.marks import compat

if TYPE_CHECKING:
    from playwright.sync_api import Page

TEXTS = ("good film", "bad plot", "good plot", "bad film")
TRY = "section[aria-labelledby=try]"
ANSWERS = (f"{TRY} [role=status] p", f"{TRY} .tagged", ".chat li.assistant", ".written .content")
CHOSEN = "(name) => document.querySelector('#field-dataset-train').selectedOptions[0].textContent.startsWith(name)"


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def images(scored: bool) -> bytes:
    """A zip of images: in a folder for each class, or beside a table with a number for each."""
    packed, table = io.BytesIO(), io.StringIO()
    rows = csv.writer(table)
    rows.writerow(["file_name", "score"])
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(40):
            picture = io.BytesIO()
            Image.new("RGB", (16, 16), (6 * number, 80, 200 * (number % 2))).save(picture, "png")
            name = f"{number:02}.png" if scored else f"{('red', 'blue')[number % 2]}/{number:02}.png"
            archive.writestr(name, picture.getvalue())
            rows.writerow([name, number / 40])
        if scored:
            archive.writestr("metadata.csv", table.getvalue())
    return packed.getvalue()


def words(number: int) -> str:
    return f"{TEXTS[number % 4]} {number}"


# Kind -> the file's name and content, and what the page says that it understood.
FILES: dict[str, tuple[str, bytes, str]] = {
    "classes": (
        "opinions.csv",
        ("review,sentiment\n" + "".join(f"{words(n)},{('good', 'bad')[n % 2]}\n" for n in range(40))).encode(),
        "text-classification, with text: review label: sentiment",
    ),
    "numbers": (
        "stars.csv",
        ("comment,stars\n" + "".join(f"{words(n)},{n / 8}\n" for n in range(40))).encode(),
        "text-classification (regression), with text: comment label: stars",
    ),
    "several classes": (
        "topics.jsonl",
        jsonl([{"text": words(n), "topics": [["film", "plot"], ["film"], []][n % 3]} for n in range(40)]),
        "text-classification (multi label classification), with text: text label: topics",
    ),
    "tags": (
        "tagged.jsonl",
        jsonl([{"tokens": words(n).split(), "tags": ["O", ("B-X", "O")[n % 2], "O"]} for n in range(40)]),
        "token-classification, with tokens: tokens tags: tags",
    ),
    "image classes": ("colours.zip", images(scored=False), "image-classification, with image: image label: label"),
    "image numbers": ("bright.zip", images(scored=True), "image-classification (regression), with image: image"),
    "chats": (
        "talks.jsonl",
        jsonl(
            [
                {"messages": [{"role": "user", "content": words(n)}, {"role": "assistant", "content": "It is blue."}]}
                for n in range(40)
            ]
        ),
        "text-generation, with messages: messages",
    ),
    "completions": (
        "questions.csv",
        ("question,answer\n" + "".join(f"{words(n)}?,It is {n}.\n" for n in range(40))).encode(),
        "text-generation, with prompt: question completion: answer",
    ),
}


@pytest.fixture(scope="module")
def families(up: Up) -> None:
    """Add a base model for images and one that writes."""
    from benchmarks import tiny_families

    for family in ("vit", "decoder"):
        tiny_families.build(family, up.home / "models")


@pytest.mark.parametrize("kind", [*map(compat, FILES)])
def test_a_file_leads_to_a_prediction(
    tab: Tab, up: Up, request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """Drop the file, read what was understood and what it will cost, submit, see what came of it, and try it."""
    if kind != "classes":
        request.getfixturevalue("families")
    name, content, understood = FILES[kind]
    file = tmp_path / name
    file.write_bytes(content)
    page = tab.page
    tab.open("/new")
    page.set_input_files("#new-file", file)
    page.wait_for_function(CHOSEN, arg=name)
    page.wait_for_selector(f".understood:has-text({json.dumps(understood)})")
    page.wait_for_selector("#plan dl")
    assert page.locator(".error, [aria-invalid=true]").count() == 0
    assert "spec leaves out" not in page.inner_text("#plan")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_selector(f"h1:has-text('{file.stem}')")
    page.wait_for_selector(".status.succeeded", timeout=1_000 * SECONDS)
    page.wait_for_selector(".verdict .headline strong")
    try_it(page, tmp_path)
    with up.client() as client:
        (made,) = client.list_jobs(name=file.stem)
        spec = client.get_job(made["id"])["spec"]
        client.delete_job(made["id"])
        client.delete_dataset(spec["dataset"]["train"])
    page.goto("about:blank")
    assert spec["task"] == understood.partition(",")[0].partition(" ")[0]


def try_it(page: Page, folder: Path) -> None:
    """Ask the model something, and wait for what it says."""
    form = page.locator(f"{TRY} form").first
    form.wait_for()
    if form.locator("#try-image").count():
        Image.new("RGB", (16, 16), (200, 0, 0)).save(folder / "new.png")
        page.set_input_files("#try-image", folder / "new.png")
    else:
        page.fill("#try-text", "good film")
    form.locator("button.primary").click()
    page.wait_for_selector(", ".join(ANSWERS))
