"""Manifests for Kubernetes, Slurm and SkyPilot say what the service understands, and give workers time to end."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.cli.app import app
from service.cli.serve import API_STOP_SECONDS, WORKER_EXTRA_SECONDS
from service.shared.settings import Settings
from tests.faults.compose import ROOT

DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "kubernetes" / "base"
OVERLAYS = sorted(path.name for path in (DEPLOY / "kubernetes" / "overlays").iterdir())
KUBERNETES = "1.31"
GRACE = Settings.model_fields["shutdown_grace_seconds"].default
SETTINGS = {f"ADAMSS_{name.upper()}" for name in Settings.model_fields}
OWN = {"ADAMSS_VENV"}  # of the script for Slurm itself


def documents(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def pods() -> dict[str, dict[str, Any]]:
    """Name -> spec of the pods of each workload."""
    found = [one for one in documents(BASE) if one["kind"] in ("Deployment", "Job")]
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in found}


def built(overlay: str, folder: Path) -> list[dict[str, Any]]:
    """Build an overlay as `kubectl apply -k` does, with a secret of its own."""
    shutil.copytree(DEPLOY / "kubernetes", folder, dirs_exist_ok=True)
    (folder / "overlays" / overlay / "secret.env").write_text("ADAMSS_DATABASE_URL=x\nADAMSS_API_KEY=x\n")
    command = ["kubectl", "kustomize", str(folder / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def test_resources_are_valid() -> None:
    """Seen to fail: with `replica: 1`, and with a probe's path that is a number."""
    found = [*documents(BASE), *(one for name in OVERLAYS for one in documents(BASE.parent / "overlays" / name))]
    assert {one["kind"] for one in found} >= {"Deployment", "Job", "Service", "HorizontalPodAutoscaler"}
    for one in found:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_every_file_is_a_resource_of_the_base() -> None:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl builds overlays")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_builds_and_its_resources_are_valid(overlay: str, tmp_path: Path) -> None:
    """Each workload has the overlay's home folder, settings and image."""
    found = built(overlay, tmp_path)
    for one in found:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    workloads = [one["spec"]["template"]["spec"] for one in found if one["kind"] in ("Deployment", "Job")]
    assert len(workloads) == len(pods())
    for pod in workloads:
        (container,), home = pod["containers"], pod["volumes"][0]
        assert home["name"] == "adamss-home"
        assert home.get("persistentVolumeClaim") or home["emptyDir"].get("sizeLimit")
        assert container["image"].startswith("registry.example.org/")
        assert all(re.search(r"-[a-z0-9]{10}$", next(iter(one.values()))["name"]) for one in container["envFrom"])


def test_workers_end_after_their_checkpoint_and_pods_are_confined() -> None:
    for name, pod in pods().items():
        (container,) = pod["containers"]
        if name.startswith("adamss-worker"):
            assert pod["terminationGracePeriodSeconds"] >= GRACE + WORKER_EXTRA_SECONDS
        elif name == "adamss-api":
            assert pod["terminationGracePeriodSeconds"] >= API_STOP_SECONDS
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_commands_of_pods_exist() -> None:
    commands = {entry.callback.__name__ for entry in app.registered_commands if entry.callback}
    for name, pod in pods().items():
        program, command = pod["containers"][0]["command"]
        assert (program, command in commands) == ("adamss", True), name


def test_slurm_asks_a_worker_to_end_in_time() -> None:
    script = DEPLOY / "slurm" / "worker.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    signal = re.search(r"^#SBATCH --signal=TERM@(\d+)$", script.read_text(), re.MULTILINE)
    assert signal is not None
    assert int(signal[1]) >= GRACE + WORKER_EXTRA_SECONDS


def test_every_way_names_the_folder_of_the_devices_locks() -> None:
    """One that all workers of a host see; else two of them would take the same device."""
    for name in ("slurm/worker.sbatch", "skypilot/worker.yaml", "kubernetes/base/kustomization.yaml"):
        text = (DEPLOY / name).read_text()
        (folder,) = re.findall(r"ADAMSS_DEVICE_LOCKS(?:=|: |:-)(/[^\s}]+)", text)
        assert folder.startswith(("/tmp/", "/var/lib/adamss/")), name  # not ours: of a manifest


def test_variables_are_settings() -> None:
    for path in (path for path in DEPLOY.rglob("*") if path.is_file()):
        named = set(re.findall(r"\bADAMSS_[A-Z_]+\b", path.read_text()))
        assert named <= SETTINGS | OWN, path.name


def test_skypilot_starts_a_worker() -> None:
    task = yaml.safe_load((DEPLOY / "skypilot" / "worker.yaml").read_text())
    assert {"resources", "envs", "setup", "run"} <= set(task)
    assert task["run"].rstrip().endswith("adamss worker")
