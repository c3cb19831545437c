"""A home folder as after some days of work: data sets of each kind, and jobs that ended, run, wait and failed."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from benchmarks import tiny_families
from examples.demo import DATA
from examples.demo_model import BASE_MODEL, install_model
from service.client import Client
from service.client.types import JobJson

TWEETS = DATA.with_name("tweets.csv")
START_SECONDS = 120.0
JOB_SECONDS = 1800.0
RUNNING_STEPS = 120  # of the job that is seen running
PEOPLE = ("Ada Lovelace", "Emmy Noether", "Alan Turing", "Grace Hopper", "Sofia Kovalevskaya", "Kurt Gödel")
PLACES = ("Paris", "Lagos", "New York", "Kyoto", "Lima", "Göttingen")
FIRMS = ("Acme", "Initech", "Globex", "Umbrella Foods")
SENTENCES = ("{p} moved from {l} to {m} .", "{f} opened an office in {l} .", "In {l} , {p} founded {f} .")
SHAPES = ("circle", "square", "triangle")
QUESTIONS = {"sky": "blue", "snow": "white", "grass": "green", "coal": "black", "a lemon": "yellow"}
PRUNED = {
    "num_subspaces": 10, "target_modules": ["query", "value"], "use_asa": True, "asa_target_subspaces": 60,
    "init_warmup": "auto", "final_warmup": "auto", "mask_interval": "auto",
}  # fmt: skip
REVIEWS: dict[str, Any] = {
    "base_model": BASE_MODEL,
    "training": {"max_steps": 60, "eval_steps": 12, "logging_steps": 2, "batch_size": 32, "max_length": 48,
                 "learning_rate": 0.01, "seed": 0},
    "artifacts": ["adapter", "lora"],
}  # fmt: skip


@contextmanager
def served(home: Path, port: int) -> Iterator[Client]:
    """Serve a home folder as `adamss up` does; yield a client once a worker is ready."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ADAMSS_")}
    environ |= {"ADAMSS_HOME": str(home), "ADAMSS_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", "-m", "service.cli", "up"]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _ready_client(home, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)


def _ready_client(home: Path, port: int) -> Client:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if (home / "api_key").exists():
            client = Client(f"http://127.0.0.1:{port}", (home / "api_key").read_text().strip())
            if client.ready():
                return client
            client.close()
        time.sleep(0.3)
    raise SystemExit("the service did not start")


def add_models(home: Path) -> None:
    """Write the base models: a real encoder, and tiny ones for images and chats."""
    models = home / "models"
    models.mkdir(parents=True, exist_ok=True)
    install_model(models)
    for family in ("vit", "decoder"):
        tiny_families.build(family, models)


def add_datasets(client: Client, folder: Path) -> dict[str, str]:
    """Upload a data set of each kind; return their ids."""
    files = {
        "reviews": DATA, "tweets": TWEETS, "entities": folder / "entities.jsonl", "shapes": folder / "shapes.zip",
        "chats": folder / "colours.jsonl", "partly": folder / "survey.csv",
    }  # fmt: skip
    files["entities"].write_text("".join(json.dumps(row) + "\n" for row in _entities(300)))
    files["shapes"].write_bytes(_shapes(90))
    files["chats"].write_text("".join(json.dumps(row) + "\n" for row in _chats(120)))
    broken = "3,too,many,cells\n" * 3 + "no label,\n" * 5
    files["partly"].write_text("text,label\n" + "It came late,bad\nArrived early,good\n" * 40 + broken)
    return {name: client.upload_dataset(file)["id"] for name, file in files.items()}


def _entities(count: int) -> Iterator[dict[str, list[str]]]:
    source = random.Random(0)
    for _ in range(count):
        named = {"p": source.choice(PEOPLE), "f": source.choice(FIRMS)}
        named["l"], named["m"] = source.sample(PLACES, 2)
        kinds = {"p": "PER", "f": "ORG", "l": "LOC", "m": "LOC"}
        row: dict[str, list[str]] = {"tokens": [], "tags": []}
        for word in source.choice(SENTENCES).split():
            name = word.strip("{}")
            words = named[name].split() if word.startswith("{") else [word]
            tags = (
                [f"{'I' if place else 'B'}-{kinds[name]}" for place in range(len(words))] if words != [word] else ["O"]
            )
            row["tokens"] += words
            row["tags"] += tags
        yield row


def _shapes(count: int) -> bytes:
    source, packed = random.Random(0), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(count):
            name = SHAPES[number % len(SHAPES)]
            image = Image.new("RGB", (64, 64), tuple(source.randint(200, 255) for _ in range(3)))
            draw, colour = ImageDraw.Draw(image), tuple(source.randint(0, 140) for _ in range(3))
            left, top, size = source.randint(4, 20), source.randint(4, 20), source.randint(24, 40)
            box = (left, top, left + size, top + size)
            corners = [(left, top + size), (left + size, top + size), (left + size // 2, top)]
            if name == "circle":
                draw.ellipse(box, fill=colour)
            elif name == "square":
                draw.rectangle(box, fill=colour)
            else:
                draw.polygon(corners, fill=colour)
            picture = io.BytesIO()
            image.save(picture, "png")
            archive.writestr(f"{name}/{number:03}.png", picture.getvalue())
    return packed.getvalue()


def _chats(count: int) -> Iterator[dict[str, Any]]:
    things = list(QUESTIONS.items())
    for number in range(count):
        thing, colour = things[number % len(things)]
        asked = {"role": "user", "content": f"What colour is {thing}?"}
        yield {"messages": [asked, {"role": "assistant", "content": f"It is {colour}."}]}


def specs(data: dict[str, str]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """List the jobs that run to their end by a short name: spec, and what people note of it."""
    reviews = {**REVIEWS, "dataset": {"train": data["reviews"], "eval_fraction": 0.15}}
    tiny = {"epochs": 4, "logging_steps": 1, "eval_steps": 10, "batch_size": 8, "learning_rate": 0.02}
    few = {"num_subspaces": 4, "target_modules": ["query", "value"]}
    return {
        "pruned": ({**reviews, "name": "reviews, pruned to half", "adamss": PRUNED, "compare": ["head", "lora:r=1"]},
                   {"tags": ["keep", "paper"], "group": "reviews", "notes": "Publish if the interval holds."}),
        "budget": ({**reviews, "name": "reviews, budget of a LoRA", "adamss": {"budget": "lora:r=1"}},
                   {"tags": ["budget"], "group": "reviews"}),
        "positive": ({**reviews, "name": "tweets, how positive", "task": "text-classification",
                    "problem_type": "regression", "dataset": {"train": data["tweets"], "label": "sentiment"},
                    "adamss": few}, {"group": "tweets"}),
        "people": ({"name": "people and places", "base_model": BASE_MODEL, "task": "token-classification",
                    "dataset": {"train": data["entities"]}, "adamss": few, "training": tiny}, {"tags": ["keep"]}),
        "figures": ({"name": "shapes", "base_model": "vit", "task": "image-classification", "adamss": few,
                     "dataset": {"train": data["shapes"]}, "training": tiny}, {}),
        "colours": ({"name": "colours", "base_model": "decoder", "task": "text-generation", "training": tiny,
                     "dataset": {"train": data["chats"]}, "adamss": {"num_subspaces": 4}}, {"tags": ["chat"]}),
    }  # fmt: skip


def add_jobs(client: Client, data: dict[str, str]) -> dict[str, str]:
    """Run the jobs; return their ids by name. One more was cancelled, one is paused on its way, and one waits."""
    made: dict[str, str] = {}
    for name, (spec, notes) in specs(data).items():
        made[name] = client.submit(spec)["id"]
        if notes:
            client.edit_job(made[name], **notes)
    for job_id in made.values():
        client.wait(job_id, timeout=JOB_SECONDS)
    spec = specs(data)["pruned"][0] | {"name": "reviews, longer", "compare": []}
    made["stopped"] = client.submit({**spec, "name": "a wrong rate"})["id"]
    client.cancel(made["stopped"])
    spec["training"] = spec["training"] | {"max_steps": 3000, "eval_steps": 30}
    made["running"] = client.submit(spec)["id"]
    client.edit_job(made["running"], group="reviews", tags=["long"])
    _wait_for(client, made["running"], lambda job: job["progress"]["step"] >= RUNNING_STEPS)
    client.pause(made["running"])
    _wait_for(client, made["running"], lambda job: job["status"] == "paused")
    made["waits"] = client.submit({**spec, "name": "reviews, two devices", "resources": {"devices": 2}})["id"]
    return made


def choose_from(client: Client, made: dict[str, str], data: dict[str, str]) -> dict[str, str]:
    """Pin a baseline, publish a model, and run a sweep; return the sweep's id by name."""
    client.edit_job(made["budget"], baseline=True)
    for name in ("pruned", "budget"):
        client.publish_model(made[name], "sentiment")
    spec = {**specs(data)["budget"][0], "name": "reviews, which rate?"}
    spec["training"] = spec["training"] | {"max_steps": 36}
    space = {
        "training.learning_rate": {"min": 1e-3, "max": 3e-2, "log": True},
        "training.head_learning_rate": {"values": [1e-3, 5e-3]},
        "adamss.budget": {"values": ["lora:r=1", "lora:r=2"]},
    }
    sweep = client.sweep(spec, space, trials=8, sampler_seed=0)
    return {"sweep": client.wait_sweep(sweep["id"], timeout=JOB_SECONDS)["id"]}


@contextmanager
def keep_running(client: Client, made: dict[str, str]) -> Iterator[None]:
    """Let the long job run meanwhile."""
    client.resume(made["running"])
    _wait_for(client, made["running"], lambda job: job["status"] == "running")
    yield
    client.pause(made["running"])
    _wait_for(client, made["running"], lambda job: job["status"] == "paused")


def _wait_for(client: Client, job_id: str, there: Callable[[JobJson], bool]) -> None:
    until = time.monotonic() + JOB_SECONDS
    while not there(job := client.get_job(job_id)):
        if time.monotonic() > until or job["status"] == "failed":
            raise SystemExit(f"{job['name']} is {job['status']}")
        time.sleep(1)
