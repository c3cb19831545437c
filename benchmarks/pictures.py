"""Pictures of the page for the docs, from a home folder that is filled and served for them.

python -m benchmarks.pictures --into docs/images            (about ten minutes of two cores: real jobs are trained)
python -m benchmarks.pictures --home demo --into docs/images  (keeps the home folder: a second run takes its jobs)
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from PIL import Image

from benchmarks.demo_home import add_datasets, add_jobs, add_models, choose_from, keep_running, served
from service.cli.serve import free_port
from tests.browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTH, HEIGHT = 1280, 900
COLOURS = 128
MOST_PIXELS = 1600  # height of a picture: what is below says nothing new
# What each picture shows: its address, what it waits for, and whether it is dark.
SHOWN: dict[str, tuple[str, str, bool]] = {
    "page-jobs": ("/", "tbody tr[data-job]", False),
    "page-job": ("/jobs/{pruned}", "[data-chart=loss] canvas", False),
    "page-running": ("/jobs/{running}", "[data-chart=loss] canvas", False),
    "page-pruning": ("/jobs/{pruned}", ".map[data-step]", False),
    "page-new": ("/new?dataset={reviews}", "#plan dl", False),
    "page-datasets": ("/datasets", "tbody tr", False),
    "page-dataset": ("/datasets/{entities}", ".example", False),
    "page-images": ("/datasets/{shapes}", ".example img", False),
    "page-models": ("/models/minilm", "h2:has-text('minilm')", False),
    "page-workers": ("/workers", "tbody tr", False),
    "page-compare": ("/compare?jobs={pruned},{budget}", "[data-chart=loss] canvas", False),
    "page-sweeps": ("/sweeps", "tbody tr", False),
    "page-sweep": ("/sweeps/{sweep}", ".charts canvas", False),
    "page-dark": ("/", "tbody tr[data-job]", True),
}
# Where a picture begins that does not begin at the top, and its height.
PARTS = {"page-pruning": ("#pruning", 880)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=None)
    arguments = parser.parse_args()
    path = chromium.find()
    if path is None:
        raise SystemExit(chromium.MISSING)
    with TemporaryDirectory() as scratch:
        home = arguments.home or Path(scratch) / "home"
        port = free_port("127.0.0.1")
        add_models(home)
        with served(home, port) as client:
            ids = known_ids(home, client)
            with keep_running(client, ids), chromium.launched(path) as browser:
                key = (home / "api_key").read_text().strip()
                for name in SHOWN:
                    take(browser, f"http://127.0.0.1:{port}", key, ids, name, arguments.into / f"{name}.png")
                sign_in(browser, f"http://127.0.0.1:{port}", arguments.into / "page-signin.png")


def known_ids(home: Path, client: Any) -> dict[str, str]:
    """Return ids of data sets and jobs by their names in `SHOWN`; fill the home folder first where that is not done."""
    kept = home / "picture_ids.json"
    if not kept.exists():
        folder = home / "demo"
        folder.mkdir(exist_ok=True)
        data = add_datasets(client, folder)
        jobs = add_jobs(client, data)
        kept.write_text(json.dumps(data | jobs | choose_from(client, jobs, data)))
    ids: dict[str, str] = json.loads(kept.read_text())
    return ids


def take(browser: Browser, url: str, key: str, ids: dict[str, str], name: str, into: Path) -> None:
    """Take a picture of a view, as much of it as says something new."""
    view, there, dark = SHOWN[name]
    page = opened(browser, dark=dark)
    assert page.request.post(f"{url}/signin", form={"key": key}).ok
    page.goto(f"{url}/#{view.format(**ids)}")
    page.wait_for_selector(there)
    page.wait_for_timeout(1_500)  # charts and pictures are drawn; nothing tells when the last one is
    whole = page.evaluate("document.documentElement.scrollHeight")
    first, most = PARTS.get(name, ("body", MOST_PIXELS))
    box = page.locator(first).bounding_box()
    begin = max(0, box["y"] - 20) if box else 0
    clip = {"x": 0, "y": begin, "width": WIDTH, "height": min(most, whole - begin)}
    save(page.screenshot(full_page=True, clip=clip), into)  # type: ignore[arg-type]
    page.context.close()


def sign_in(browser: Browser, url: str, into: Path) -> None:
    """Take a picture of the page that signs a browser in."""
    page = opened(browser, dark=False)
    page.goto(url)
    save(page.screenshot(), into)
    page.context.close()


def save(picture: bytes, into: Path) -> None:
    """Write a picture with few colours: a third of the bytes, and no difference to see."""
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(into, optimize=True)
    print(into)


def opened(browser: Browser, *, dark: bool) -> Page:
    """Open a page in a browser of its own."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    return context.new_page()


if __name__ == "__main__":
    main()
