"""The files for Docker say what the service understands; the tests of faults start the same topology without it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli.app import app
from service.cli.serve import API_STOP_SECONDS, WORKER_EXTRA_SECONDS
from service.shared.settings import Settings
from service.shared.storage.home import Home
from tests.faults.compose import ROOT, SECRETS, compose, environment, fill
from tests.object_server import ObjectServer

OURS = ("api", "worker-cpu", "worker-cpu-2", "worker-gpu")
STORE_PORT = 8333
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
    assert started(COMPOSE_PROFILES="store") == others | {"worker-cpu": 1, "worker-cpu-2": 1, "store": 1}


def test_profiles_and_variables_are_those_of_the_docs() -> None:
    text = (ROOT / "docs" / "deploying.md").read_text()
    assert "`COMPOSE_PROFILES=gpu` to `.env`, and `CPU_WORKERS=0`" in text
    assert {profile for part in services().values() for profile in part.get("profiles", [])} == {"gpu", "store"}


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
    volume = "adamss-home-2" if name == "worker-cpu-2" else "adamss-home"  # a host of its own
    assert services()[name]["volumes"] == [f"{volume}:/var/lib/adamss"]


def test_stopping_takes_longer_than_what_is_to_be_done() -> None:
    for name in ("worker-cpu", "worker-cpu-2", "worker-gpu"):
        needed = Settings().shutdown_grace_seconds + WORKER_EXTRA_SECONDS
        assert seconds(services()[name]["stop_grace_period"]) >= needed
    assert seconds(services()["api"]["stop_grace_period"]) >= API_STOP_SECONDS


def test_every_part_has_a_health_check_and_waits_for_what_it_needs() -> None:
    assert "HEALTHCHECK" in DOCKERFILE
    for name in ("postgres", "redis", "worker-cpu", "worker-gpu"):
        assert services()[name]["healthcheck"]["test"][0] == "CMD"
    for name in OURS:
        assert {"postgres", "redis"} <= set(services()[name]["depends_on"])


def test_the_store_is_what_its_comment_says(tmp_path: Path) -> None:
    """The server of the tests takes the same options, asks for the keys of its environment and makes the bucket."""
    command = services()["store"]["command"]
    assert f"s3.port={STORE_PORT}" in " ".join(command)
    text = (ROOT / "docker-compose.yml").read_text()
    assert f"AWS_ENDPOINT_URL=http://store:{STORE_PORT}" in text
    known = subprocess.run([ObjectServer.program(), "server", "-h"], capture_output=True, text=True, check=False)
    for option in command[1:]:
        assert re.search(rf"^  {re.escape(option.partition('=')[0])}\b", known.stderr, re.MULTILINE), option


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
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "--uid 10001" in last
    assert "--gid 10001" in last
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split())
    packages = {"adamss_core", "service", "worker", "migrations"}
    assert packages <= set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.MULTILINE))


def test_worker_health_without_a_worker() -> None:
    done = subprocess.run([sys.executable, "-m", "worker.health"], env={"ADAMSS_HOME": "/nonexistent"}, check=False)
    assert done.returncode == 1


@pytest.mark.parametrize("name", sorted(services()))
def test_containers_are_confined(name: str) -> None:
    """A root file system that nobody writes, no capability, and no way to more."""
    part = services()[name]
    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]
    assert part["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "devices", "pid", "network_mode", "ipc"} & set(part)
    assert "/tmp" in {entry.partition(":")[0] for entry in part["tmpfs"]}
    owner = {"store": "0:0"}.get(name, name)  # of a volume whose mount point its image does not have
    assert name in OURS or part["user"] == owner, "the image of the others starts as root"


@pytest.mark.parametrize("name", OURS)
def test_what_is_written_outside_the_volume_belongs_to_the_user_of_the_image(name: str, tmp_path: Path) -> None:
    folders = dict(entry.split(":", 1) for entry in services()[name]["tmpfs"])
    assert set(folders) == {"/tmp", "/home/adamss"}
    assert {"uid=10001", "gid=10001"} <= set(folders["/home/adamss"].split(","))
    filled = environment(name, SECRETS | {"ADAMSS_API_KEY": "adamss_key"})
    home = filled["ADAMSS_HOME"]
    assert filled["TMPDIR"] == f"{home}/{Home(tmp_path).scratch.name}"
    assert filled["TMPDIR"] in DOCKERFILE


def test_the_manifest_of_the_docs_confines_as_compose_does() -> None:
    text = (ROOT / "docs" / "deploying.md").read_text()
    found = re.search(r"```yaml\n(securityContext:.*?)```", text, re.DOTALL)
    assert found is not None
    pod, container = list(yaml.safe_load_all(found[1]))
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"/var/lib/adamss", "/tmp", "/home/adamss"}
