"""Metrics, events, maps, checkpoints and logs, as a watcher reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import delete, insert

from service.jobs import repository, thinning
from service.shared.database.tables import Checkpoint, Job, MetricRow, now
from tests.service.support import Service, error_of, report_map, report_metrics, run_job


def get(service: Service, path: str, **query: Any) -> Any:
    response = service.client.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


def test_no_row_is_missed_or_seen_twice(any_service: Service) -> None:
    job_id = any_service.submit()["id"]
    path = f"/jobs/{job_id}/metrics"
    run_job(any_service, job_id)
    seen: list[int] = []
    after, more = 0, True
    report_metrics(any_service, job_id, [{"loss": 1.0 / step} for step in range(1, 6)])
    while more:
        page = get(any_service, path, after=after, limit=2)
        seen += [row["step"] for row in page["data"]]
        after, more = page["next"], page["has_more"]
    assert seen == [1, 2, 3, 4, 5]
    row = get(any_service, path)["data"][0]
    assert row["values"] == {"loss": 1.0}
    assert set(row) == {"seq", "kind", "step", "epoch", "time", "values"}
    assert get(any_service, path, after=after) == {
        "object": "list",
        "data": [],
        "has_more": False,
        "total": None,
        "next": after,
    }


def test_one_value_by_name(any_service: Service) -> None:
    job_id = any_service.submit()["id"]
    report_metrics(any_service, job_id, [{"loss": 3.0, "lr": 0.1}, {"lr": 0.2}, {"loss": 1.0}])
    page = get(any_service, f"/jobs/{job_id}/metrics", name="loss")
    assert [(row["step"], row["values"]) for row in page["data"]] == [(1, {"loss": 3.0}), (3, {"loss": 1.0})]


def test_thinning_keeps_ends_extremes_and_evaluations(service: Service) -> None:
    job_id = service.submit()["id"]
    losses = [math.sin(step / 50) for step in range(2_000)]
    losses[777], losses[1_234] = 50.0, -50.0
    report_metrics(service, job_id, [{"loss": loss} for loss in losses])
    report_metrics(service, job_id, [{"eval_loss": 0.5}], kind="eval")
    data = get(service, f"/jobs/{job_id}/metrics", max_points=100)["data"]
    assert len(data) <= 100
    assert (data[0]["step"], data[-1]["kind"]) == (1, "eval")
    values = [row["values"].get("loss") for row in data]
    assert 50.0 in values
    assert -50.0 in values
    assert [row["seq"] for row in data] == sorted({row["seq"] for row in data})


@pytest.mark.parametrize("evaluations", [0, 3, 30])
def test_thinning_never_gives_more_than_asked(any_service: Service, evaluations: int) -> None:
    job_id = any_service.submit()["id"]
    report_metrics(any_service, job_id, [{"loss": float(-step), "grad_norm": 1.0} for step in range(60)])
    report_metrics(any_service, job_id, [{"eval_loss": float(step)} for step in range(evaluations)], kind="eval")
    report_metrics(any_service, job_id, [{"loss": 1.0}] * 30, first=100)
    path = f"/jobs/{job_id}/metrics"
    whole = get(any_service, path)["data"]
    for points in (1, 2, 3, 4, 5, 8, 11, 89):
        page = get(any_service, path, max_points=points)
        kept = page["data"]
        assert 1 <= len(kept) <= points
        assert kept[0] == whole[0]
        assert all(row in whole for row in kept)
        assert not page["has_more"]
        if points > 1:
            assert kept[-1] == whole[-1]
    assert get(any_service, path, max_points=10_000)["data"] == whole
    named = get(any_service, path, max_points=4, name="eval_loss")["data"]
    assert min(2, evaluations) <= len(named) <= 4
    assert all(set(row["values"]) == {"eval_loss"} for row in named)


NAMES = (None, "loss", "lr", "eval_loss")


def add_history(service: Service, job_id: str, steps: range, attempt: int, high: int | None = None) -> None:
    """Add rows as an attempt would, an evaluation after each tenth step; the loss of one step is high."""
    with service.db.write() as session:
        job, moment = session.get_one(Job, job_id), now()
        for step in steps:
            for kind, values in (("train", {"loss": 9.0 if step == high else 1 / step, "lr": -step}), ("eval", {})):
                if kind == "eval" and step % 10:
                    continue
                job.last_seq += 1
                row = MetricRow(job_id=job_id, seq=job.last_seq, attempt=attempt, kind=kind, step=step, time=moment)
                row.epoch, row.values = 0.0, values or {"eval_loss": 2 / step}
                session.add(row)


def curves(service: Service, job_id: str) -> list[Any]:
    return [
        get(service, f"/jobs/{job_id}/metrics", max_points=20, **({} if name is None else {"name": name}))["data"]
        for name in NAMES
    ]


def fresh_curves(service: Service, job_id: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The curves as another process of the API draws them, which has not seen the job yet."""
    with monkeypatch.context() as patch:
        patch.setattr(thinning, "_curves", {})
        return curves(service, job_id)


def test_a_curve_follows_its_run_and_reads_only_what_was_added(
    any_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = any_service.submit()["id"]
    read: list[int] = []
    rows_after = repository.curve_rows

    def counted(*arguments: Any, **options: Any) -> Iterator[Any]:
        found = list(rows_after(*arguments, **options))
        read.append(len(found))
        yield from found

    add_history(any_service, job_id, range(1, 301), attempt=1)
    first = curves(any_service, job_id)
    add_history(any_service, job_id, range(301, 311), attempt=1, high=305)
    monkeypatch.setattr(repository, "curve_rows", counted)
    longer = curves(any_service, job_id)
    assert read == [11, 10, 10, 1]
    assert curves(any_service, job_id) == longer != first
    assert read[4:] == [0, 0, 0, 0]
    assert 9.0 in [row["values"].get("loss") for row in longer[0]]
    assert [part[-1]["step"] for part in longer] == [310] * 4
    assert fresh_curves(any_service, job_id, monkeypatch) == longer


@pytest.mark.parametrize("resumed", [30, 200, 299])
def test_a_curve_forgets_what_a_newer_attempt_voids(
    any_service: Service, resumed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = any_service.submit()["id"]
    add_history(any_service, job_id, range(1, 301), attempt=1, high=250)
    curves(any_service, job_id)
    with any_service.db.write() as session:
        session.execute(delete(MetricRow).where(MetricRow.job_id == job_id, MetricRow.step > resumed))
    shorter = curves(any_service, job_id)
    assert [part[-1]["step"] for part in shorter[:3]] == [resumed] * 3
    assert fresh_curves(any_service, job_id, monkeypatch) == shorter
    add_history(any_service, job_id, range(resumed + 1, 400), attempt=2)
    again = curves(any_service, job_id)
    assert (9.0 in [row["values"].get("loss") for row in again[0]]) == (resumed >= 250)
    assert fresh_curves(any_service, job_id, monkeypatch) == again


def test_a_curve_follows_rows_that_are_written_again(any_service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a batch whose commit was not answered, and an evaluation that is made a second time."""
    job_id = any_service.submit()["id"]
    add_history(any_service, job_id, range(1, 301), attempt=1, high=300)
    curves(any_service, job_id)
    with any_service.db.write() as session:
        session.execute(delete(MetricRow).where(MetricRow.job_id == job_id, MetricRow.step >= 300))
    add_history(any_service, job_id, range(300, 305), attempt=1)
    again = curves(any_service, job_id)
    assert 9.0 not in [row["values"].get("loss") for row in again[0]]
    assert fresh_curves(any_service, job_id, monkeypatch) == again


def test_only_so_many_curves_are_remembered(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = service.submit()["id"]
    report_metrics(service, job_id, [{"loss": 1.0}] * 50)
    monkeypatch.setattr(thinning, "REMEMBERED_POINTS", 100)
    monkeypatch.setattr(thinning, "_curves", {})
    for points in (10, 20, 30, 40, 10):
        get(service, f"/jobs/{job_id}/metrics", max_points=points)
    assert [curve.points for curve in thinning._curves.values()] == [20, 30, 40, 10]


def test_a_long_history_keeps_its_spikes(service: Service) -> None:
    """100,000 steps in 500 points; what makes a plot worth looking at is among them."""
    job_id = service.submit()["id"]
    moment = now()
    with service.db.write() as session:
        row = {"job_id": job_id, "attempt": 1, "kind": "train", "epoch": 0.0, "time": moment}
        values = [{"loss": 1.0 / (1 + step % 77), "grad_norm": 0.5} for step in range(100_000)]
        values[41_234]["loss"], values[70_001]["grad_norm"] = 99.0, 1e6
        rows = [row | {"seq": step + 10, "step": step, "values": value} for step, value in enumerate(values)]
        session.execute(insert(MetricRow), rows)
        session.get_one(Job, job_id).last_seq = 100_010
    page = get(service, f"/jobs/{job_id}/metrics", max_points=500)
    steps = [row["step"] for row in page["data"]]
    assert len(steps) <= 500
    assert (steps[0], steps[-1], page["next"], page["has_more"]) == (0, 99_999, 100_009, False)
    assert {41_234, 70_001} <= set(steps)
    assert max(after - before for before, after in pairwise(steps)) < 1_000


def test_metrics_as_parquet(any_service: Service) -> None:
    job_id = any_service.submit()["id"]
    report_metrics(any_service, job_id, [{"loss": 1.0}, {"loss": 0.5, "grad_norm": 2.0}])
    report_metrics(any_service, job_id, [{"eval_loss": 0.7}], kind="eval")
    answer = any_service.client.get(f"/jobs/{job_id}/metrics.parquet")
    assert answer.status_code == 200
    rows = parquet.read_table(BytesIO(answer.content)).to_pylist()
    assert [(row["kind"], row["step"], row["loss"], row["grad_norm"], row["eval_loss"]) for row in rows] == [
        ("train", 1, 1.0, None, None),
        ("train", 2, 0.5, 2.0, None),
        ("eval", 1, None, None, 0.7),
    ]
    assert [row["seq"] for row in rows] == [row["seq"] for row in get(any_service, f"/jobs/{job_id}/metrics")["data"]]
    empty = any_service.client.get(f"/jobs/{any_service.submit()['id']}/metrics.parquet")
    assert parquet.read_table(BytesIO(empty.content)).num_rows == 0


def test_events_are_in_order_and_paged(any_service: Service) -> None:
    job_id = any_service.submit()["id"]
    run_job(any_service, job_id)
    any_service.client.post(f"/jobs/{job_id}/cancel")
    page = get(any_service, f"/jobs/{job_id}/events", limit=1)
    assert [event["type"] for event in page["data"]] == ["queued"]
    assert page["has_more"] is True
    rest = get(any_service, f"/jobs/{job_id}/events", after=page["next"])
    assert [event["type"] for event in rest["data"]] == ["started", "cancelling"]


def test_the_newest_map_or_the_one_at_a_step(any_service: Service) -> None:
    job_id = any_service.submit()["id"]
    path = f"/jobs/{job_id}/subspaces"
    assert error_of(any_service.client.get(path).json())["code"] == "no_subspaces"
    report_map(any_service, job_id, 0, 4)
    report_map(any_service, job_id, 10, 3)
    newest = get(any_service, path)
    assert (newest["step"], newest["steps"], newest["active"]) == (10, [0, 10], 3)
    first = get(any_service, path, step=0)
    assert (first["step"], first["active"], first["target"]) == (0, 4, 2)
    assert len(next(iter(first["modules"].values()))) == 4
    missing = any_service.client.get(path, params={"step": 5})
    assert missing.status_code == 404
    assert "0, 10" in error_of(missing.json())["message"]


def test_checkpoints_are_listed(any_service: Service) -> None:
    job_id = any_service.submit()["id"]
    with any_service.db.write() as session:
        for step in (20, 10):
            session.add(
                Checkpoint(
                    job_id=job_id,
                    step=step,
                    attempt=1,
                    path=f"checkpoints/{step}",
                    best=step == 10,
                    values={"eval_loss": 0.5},
                    created_at=now(),
                )
            )
    data = get(any_service, f"/jobs/{job_id}/checkpoints")["data"]
    assert [(row["step"], row["best"]) for row in data] == [(10, True), (20, False)]
    assert "path" not in data[0]


def test_the_log_is_followed_byte_by_byte(service: Service) -> None:
    job_id = service.submit()["id"]
    path = f"/jobs/{job_id}/logs"
    assert get(service, path) == {"object": "log", "data": "", "offset": 0, "next": 0}
    text = "first line\nzweite Zeile äöü 漢字 🎉\nlast"
    log = service.settings.files.job(job_id).log
    log.parent.mkdir(parents=True)
    log.write_text(text, encoding="utf-8")
    assert get(service, path)["data"] == text
    read, offset = "", 0
    while True:
        piece = get(service, path, offset=offset, limit=5)
        if not piece["data"]:
            break
        read, offset = read + piece["data"], piece["next"]
    assert read == text
    assert get(service, path, limit=4)["data"] == "last"
    assert get(service, path, offset=10**6)["data"] == ""


@pytest.mark.parametrize(
    "query", ["after=-1", "limit=0", "limit=100000", "max_points=0", "after=x", "after=99999999999"]
)
def test_bad_queries_name_the_parameter(service: Service, query: str) -> None:
    job_id = service.submit()["id"]
    response = service.client.get(f"/jobs/{job_id}/metrics?{query}")
    assert (response.status_code, error_of(response.json())["param"]) == (422, query.partition("=")[0])
