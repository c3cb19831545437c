from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from adamss_core.spec import JobSpec
from tests.e2e.conftest import ROWS, Up


def test_a_job_is_shown_with_its_numbers(up: Up, finished: str) -> None:
    text = up.adamss("jobs", "show", finished).stdout
    assert "succeeded" in text
    assert "60 active of 120" in text
    job = json.loads(up.adamss("jobs", "show", finished, "--json").stdout)
    assert job["asa"] == {"total": 120, "active": 60, "target": 60}
    assert finished in up.adamss("jobs", "list", "--status", "succeeded").stdout
    assert finished not in up.adamss("jobs", "list", "--status", "failed").stdout


def test_a_replay_of_the_own_target_gives_the_runs_masks(up: Up, finished: str) -> None:
    with up.client() as client:
        recorded = client.subspaces(finished)
        answer = client._get(f"/jobs/{finished}/subspaces/replay", {"target": recorded["target"]})
    assert recorded["active"] == recorded["target"]
    assert recorded["active"] < recorded["total"]
    assert answer["modules"] == recorded["modules"]
    assert answer["exact"] is True


def test_metrics_as_csv_and_json(up: Up, finished: str) -> None:
    rows = list(csv.DictReader(io.StringIO(up.adamss("jobs", "metrics", finished, "--csv").stdout)))
    assert float(rows[0]["loss"]) > 0
    assert [row["step"] for row in rows if row["eval_accuracy"]] == [rows[-1]["step"]]
    steps = [row["step"] for row in json.loads(up.adamss("jobs", "metrics", finished, "--json").stdout)]
    assert [int(row["step"]) for row in rows] == steps
    assert "loss" not in up.adamss("jobs", "metrics", finished).stderr


def test_watching_a_job_that_has_ended_returns_at_once(up: Up, finished: str) -> None:
    lines = up.adamss("jobs", "watch", finished, "--json").stdout.splitlines()
    assert json.loads(lines[0])["object"] == "metric"
    assert json.loads(lines[-1])["status"] == "succeeded"
    assert up.adamss("jobs", "logs", finished, "--follow").returncode == 0


def test_artifacts_are_listed_and_downloaded(up: Up, finished: str, tmp_path: Path) -> None:
    listed = json.loads(up.adamss("artifacts", "list", finished, "--json").stdout)
    assert [artifact["name"] for artifact in listed] == ["adapter", "lora", "merged", "metrics"]
    result = up.adamss("artifacts", "download", finished, "lora", "adapter", "--to", str(tmp_path))
    assert result.returncode == 0, result.stderr
    for name in ("lora", "adapter"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            assert archive.testzip() is None
    assert up.adamss("artifacts", "download", finished, "lora", "--to", str(tmp_path), "--extract").returncode == 0
    assert (tmp_path / "lora" / "adapter_config.json").is_file()


def test_datasets_and_models(up: Up) -> None:
    dataset = json.loads(up.adamss("datasets", "upload", str(up.rows), "--new", "--json").stdout)["id"]
    assert dataset in up.adamss("datasets", "list").stdout
    shown = json.loads(up.adamss("datasets", "show", dataset, "--json").stdout)
    assert [column["name"] for column in shown["columns"]] == ["text", "label"]
    assert str(ROWS) in up.adamss("datasets", "show", dataset).stdout
    assert up.adamss("datasets", "delete", dataset).returncode == 0
    assert up.adamss("datasets", "show", dataset).returncode == 4
    assert "minilm" in up.adamss("models").stdout


def test_cancel(up: Up, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    up.adamss("init", str(spec))
    spec.write_text(spec.read_text().replace("epochs: 2", "epochs: 500"))
    job = up.adamss("jobs", "submit", str(spec), "--dataset", str(up.rows)).stdout.strip()
    assert "adamss jobs resume" in up.adamss("jobs", "pause", job).stdout
    with up.client() as client:
        while client.get_job(job)["status"] != "paused":
            time.sleep(0.2)
    assert f"{job} is queued." in up.adamss("jobs", "resume", job).stdout
    assert up.adamss("jobs", "resume", job).returncode == 2
    assert up.adamss("jobs", "cancel", job).returncode == 0
    result = up.adamss("jobs", "watch", job)
    assert result.returncode == 1
    assert up.adamss("jobs", "cancel", job).returncode == 2


def test_keys(up: Up) -> None:
    made = up.adamss("keys", "create", "somebody", "--project", "other")
    key = made.stdout.strip()
    listed = {entry["name"]: entry for entry in json.loads(up.adamss("keys", "list", "--json").stdout)}
    assert listed["somebody"]["project"] == "other"
    assert key not in up.adamss("keys", "list").stdout
    theirs = {**up.environ, "ADAMSS_API_KEY": key}
    command = [sys.executable, "-m", "service.cli", "jobs", "list", "--json"]
    result = subprocess.run(command, env=theirs, capture_output=True, text=True, check=False)
    assert json.loads(result.stdout) == []
    assert up.adamss("keys", "revoke", listed["somebody"]["id"]).returncode == 0
    result = subprocess.run(command, env=theirs, capture_output=True, text=True, check=False)
    assert result.returncode == 4
    assert "ADAMSS_API_KEY" in result.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_model": "nothere"}, "base_model"),
        ({"nonsense": 1}, "nonsense"),
        ({"dataset": {"train": "ds_aaaaaaaaaaaaaaaaaaaa"}}, "dataset.train"),
        ({"adamss": {"r": 0}}, "adamss.r"),
        ({"training": {"epochs": "many"}}, "training.epochs"),
    ],
)
def test_a_wrong_field_is_named_in_one_line(up: Up, tmp_path: Path, change: dict[str, object], said: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump({"name": "a", "base_model": "minilm", "dataset": {"train": "ds_a"}} | change))
    known = ["--dataset", str(up.rows)] if "dataset" not in change else []
    result = up.adamss("jobs", "submit", str(file), *known)
    assert result.returncode == 2
    *_, last = lines = result.stderr.splitlines()  # before it stands what was noticed of the data
    assert last.startswith(f"error: {said}")
    assert sum(line.startswith("error") for line in lines) == 1


def test_what_is_not_there(up: Up) -> None:
    assert up.adamss("jobs", "show", "job_aaaaaaaaaaaaaaaaaaaa").returncode == 4
    assert up.adamss("datasets", "upload", "/no/such/file.csv").returncode == 2
    assert up.adamss("jobs", "submit", "/no/such/spec.yaml").returncode == 2


def test_a_port_that_is_taken_is_said(up: Up) -> None:
    result = up.adamss("up")
    assert result.returncode == 2
    assert "--port" in result.stderr


def test_the_written_spec_is_valid() -> None:
    from service.cli.init import PRUNING, commented_spec

    spec = JobSpec.model_validate(yaml.safe_load(commented_spec("text-classification")))
    assert spec.adamss.asa_target_subspaces == PRUNING["asa_target_subspaces"]


def test_every_field_of_the_written_spec_can_be_switched_on() -> None:
    from service.cli.init import commented_spec

    lines = [line for line in commented_spec("text-classification").splitlines() if not line.startswith("# A fine-t")]
    fields = [line.replace("# ", "", 1) if line.lstrip(" #").split(":")[0].isidentifier() else line for line in lines]
    values = yaml.safe_load("\n".join(line for line in fields if not line.lstrip().startswith("#")))
    JobSpec.model_validate(values)


def test_a_dry_run_keeps_no_file_that_it_uploaded(up: Up, tmp_path: Path) -> None:
    """Keep what had been uploaded before; a file again is the data set that is there."""
    rows, spec = tmp_path / "few.csv", tmp_path / "spec.yaml"
    rows.write_text("text,label\n" + "".join(f"film {n},{n % 2}\n" for n in range(40)))
    spec.write_text(yaml.safe_dump({"name": "few", "base_model": "minilm"}))
    plan = ("jobs", "submit", str(spec), "--dry-run", "--dataset", str(rows))
    before = up.adamss("datasets", "list").stdout
    result = up.adamss(*plan)
    assert (result.returncode, up.adamss("datasets", "list").stdout) == (0, before), result.stderr
    with zipfile.ZipFile(tmp_path / "few.zip", "w") as archive:
        for split in ("train", "test"):
            archive.writestr(f"{split}.csv", rows.read_text().replace("film", split))
    splits = up.adamss("jobs", "submit", str(spec), "--dry-run", "--dataset", str(tmp_path / "few.zip"))
    assert "test rows" in splits.stdout
    assert up.adamss("datasets", "list").stdout == before
    kept = up.adamss("datasets", "upload", str(rows))
    again = up.adamss("datasets", "upload", str(rows))
    assert again.stdout == kept.stdout
    assert "uploaded" in again.stderr
    assert "uploaded" not in kept.stderr
    assert up.adamss(*plan).returncode == 0
    assert kept.stdout.strip() in up.adamss("datasets", "list").stdout
