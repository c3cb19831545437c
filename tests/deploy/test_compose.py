"""The files for Docker say what the service understands; the tests of faults start the same topology without it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from service.cli.app import app
from service.cli.serve import API_STOP_SECONDS, WORKER_EXTRA_SECONDS
from service.shared.settings import Settings
from tests.faults.compose import ROOT, SECRETS, compose, environment, fill

OURS = ("api", "worker-cpu", "worker-gpu")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def services() -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"]
    return found


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def started(**variables: str) -> dict[str, int]:
    """Name -> replicas of the services that `docker compose up` starts with these variables in `.env`, by its rules."""
    profiles = set(variables.get("COMPOSE_PROFILES", "").split(",")) - {""}
    replicas = {
        name: int(fill(str(part.get("deploy", {}).get("replicas", 1)), variables))
        for name, part in services().items()
        if not part.get("profiles") or not profiles.isdisjoint(part["profiles"])
    }
    return {name: number for name, number in replicas.items() if number}


def test_a_worker_starts_on_the_cpu_unless_the_gpu_takes_its_place() -> None:
    others = {"api": 1, "postgres": 1, "redis": 1}
    assert started() == others | {"worker-cpu": 1}
    assert started(CPU_WORKERS="2") == others | {"worker-cpu": 2}
    assert started(COMPOSE_PROFILES="cpu") == others | {"worker-cpu": 1}  # as older versions wrote it
    # docs/deploying.md: both, unless CPU_WORKERS says 0.
    assert started(COMPOSE_PROFILES="gpu") == others | {"worker-cpu": 1, "worker-gpu": 1}
    assert started(COMPOSE_PROFILES="gpu", CPU_WORKERS="0") == others | {"worker-gpu": 1}


def test_profiles_and_variables_are_those_of_the_docs() -> None:
    text = (ROOT / "docs" / "deploying.md").read_text()
    assert "`COMPOSE_PROFILES=gpu` to `.env`, and `CPU_WORKERS=0`" in text
    assert {profile for part in services().values() for profile in part.get("profiles", [])} == {"gpu"}


@pytest.mark.parametrize("name", OURS)
def test_variables_are_settings_that_can_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = environment(name, SECRETS | {"ADAMSS_API_KEY": "adamss_key"})
    known = {f"ADAMSS_{field.upper()}" for field in Settings.model_fields}
    assert {key for key in filled if key.startswith("ADAMSS_")} <= known
    for key, value in filled.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert settings.resolved_database_url.startswith("postgresql+psycopg://adamss:postgres0password@postgres:5432/")
    assert settings.broker_url.startswith("redis://:redis0password@")


@pytest.mark.parametrize("name", OURS)
def test_commands_exist_and_files_are_shared(name: str) -> None:
    program, command = services()[name]["command"]
    assert program == "adamss"
    assert command in {entry.callback.__name__ for entry in app.registered_commands if entry.callback}
    assert services()[name]["volumes"] == ["adamss-home:/var/lib/adamss"]


def test_stopping_takes_longer_than_what_is_to_be_done() -> None:
    for name in ("worker-cpu", "worker-gpu"):
        needed = Settings().shutdown_grace_seconds + WORKER_EXTRA_SECONDS
        assert seconds(services()[name]["stop_grace_period"]) >= needed
    assert seconds(services()["api"]["stop_grace_period"]) >= API_STOP_SECONDS


def test_every_part_has_a_health_check_and_waits_for_what_it_needs() -> None:
    assert "HEALTHCHECK" in DOCKERFILE
    for name in ("postgres", "redis", "worker-cpu", "worker-gpu"):
        assert services()[name]["healthcheck"]["test"][0] == "CMD"
    for name in OURS:
        assert {"postgres", "redis"} <= set(services()[name]["depends_on"])


def test_redis_keeps_what_it_was_given_and_asks_for_a_password() -> None:
    words = services()["redis"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"
    assert "REDIS_PASSWORD" in options["--requirepass"]


def test_volumes_are_declared_and_only_the_api_is_reached_from_outside() -> None:
    named = {volume.partition(":")[0] for part in services().values() for volume in part.get("volumes", [])}
    assert named == set(compose()["volumes"])
    assert [name for name, part in services().items() if "ports" in part] == ["api"]
    assert services()["api"]["ports"] == ["127.0.0.1:8642:8642"]


def test_image_runs_as_nobody_and_copies_what_there_is() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER adamss$", last, re.MULTILINE)
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())
    packages = {"adamss_core", "service", "worker", "migrations"}
    assert packages <= set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.MULTILINE))


def test_worker_health_without_a_worker() -> None:
    done = subprocess.run([sys.executable, "-m", "worker.health"], env={"ADAMSS_HOME": "/nonexistent"}, check=False)
    assert done.returncode == 1
