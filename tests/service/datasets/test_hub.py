"""Data sets from a hub: permission, choice of files, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from service.datasets.hub import choose
from service.shared.errors import InvalidRequest
from service.shared.settings import Settings
from tests.service.datasets.corpus import GOOD, parquet_of
from tests.service.datasets.hub_server import COMMIT, serving
from tests.service.support import error_of, running

pytestmark = pytest.mark.slow

PARTS = ["x/train/0.parquet", "x/train/1.parquet"]
FILES = {
    "README.md": b"# Reviews",
    "reviews.py": b"raise SystemExit",
    "data/train-00000-of-00002.parquet": parquet_of({"text": ["a", "b"], "label": [0, 1]}),
    "data/train-00001-of-00002.parquet": parquet_of({"text": ["c"], "label": [0]}),
    "data/test.jsonl": GOOD,
}


def test_split_is_fetched_at_its_commit(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("org/reviews", FILES) as address, running(settings) as service:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        response = service.client.post("/datasets", json={"hub_id": "org/reviews"})
        assert response.status_code == 201, response.text
        dataset = response.json()
        assert (dataset["format"], dataset["rows"], dataset["name"]) == ("parquet", 3, "org reviews train")
        assert dataset["notices"][0]["message"] == f"From the hub: org/reviews at {COMMIT}, split train."
        rows = service.client.get(f"/datasets/{dataset['id']}/preview").json()["rows"]
        assert [row["text"] for row in rows] == ["a", "b", "c"]
        names = {path.name for path in settings.files.datasets.iterdir()}
        assert names == {f"{dataset['id']}.jsonl", f"{dataset['id']}.hashes"}

        missing = service.client.post("/datasets", json={"hub_id": "org/nothere"})
        assert (missing.status_code, error_of(missing.json())["code"]) == (422, "unknown_hub_dataset")
        split = service.client.post("/datasets", json={"hub_id": "org/reviews", "split": "validation"})
        assert (split.status_code, error_of(split.json())["param"]) == (422, "split")


def test_hub_needs_the_operators_permission(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"allow_hub": False, "hub_datasets": ["org/listed"]}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with running(settings.model_copy(update=changes)) as service:

        def refused(status: int, **body: Any) -> dict[str, Any]:
            response = service.client.post("/datasets", json=body)
            assert response.status_code == status, response.text
            return error_of(response.json())

        assert refused(422, hub_id="org/other")["code"] == "hub_not_allowed"
        assert refused(503, hub_id="org/listed")["code"] == "hub_unreachable"
        for body, param in (
            ({}, "hub_id"),
            ({"hub_id": "../etc"}, "hub_id"),
            ({"hub_id": "https://example.org/x"}, "hub_id"),
            ({"hub_id": "org/listed", "revision": "../x"}, "revision"),
            ({"hub_id": "org/listed", "split": "a/b"}, "split"),
            ({"hub_id": "org/listed", "trust_remote_code": True}, "trust_remote_code"),
        ):
            assert refused(422, **body)["param"] == param
        broken = service.client.post("/datasets", content=b"{", headers={"content-type": "application/json"})
        assert (broken.status_code, error_of(broken.json())["code"]) == (400, "invalid_json")
        assert list(service.settings.files.datasets.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "split", "config", "chosen"),
    [
        (["data.csv", "README.md"], "train", None, ["data.csv"]),
        (["train.csv", "test.csv"], "test", None, ["test.csv"]),
        (["a/valid.jsonl", "a/train.jsonl"], "validation", "a", ["a/valid.jsonl"]),
        (
            ["x/train/0.parquet", "x/train/1.parquet", "train.csv"],
            "train",
            None,
            ["x/train/0.parquet", "x/train/1.parquet"],
        ),
        (["data/extra-0.parquet", "data/train-0.parquet"], "extra", None, ["data/extra-0.parquet"]),
    ],
)
def test_choose_files_of_a_split(names: list[str], split: str, config: str | None, chosen: list[str]) -> None:
    assert choose(names, split, config) == chosen


@pytest.mark.parametrize(
    ("names", "split", "config", "param"),
    [
        (["script.py", "README.md", "dataset_infos.json"], "train", None, "hub_id"),
        (["train.csv"], "test", None, "split"),
        (["a/train.csv", "b/train.csv"], "train", None, "config"),
        (["a/train.csv"], "train", "b", "config"),
    ],
)
def test_refused_choice_names_its_field(names: list[str], split: str, config: str | None, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        choose(names, split, config)
    assert caught.value.param == param
