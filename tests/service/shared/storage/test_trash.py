from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.shared.storage.home import Home
from service.shared.storage.trash import KEPT, Trash


def test_what_is_moved_keeps_its_place_and_goes_after_a_day(tmp_path: Path) -> None:
    home = Home(tmp_path)
    rows, trash = home.dataset_rows("ds_a"), Trash(home)
    rows.write_text("12345")
    trash.move(rows)
    trash.move(rows)  # another worker was quicker
    (moved,) = home.trash.glob("*/datasets/ds_a.jsonl")
    assert trash.size() == 5
    assert trash.empty() == 0
    assert moved.exists()
    old = home.trash / (datetime.now(UTC) - KEPT - timedelta(minutes=1)).strftime("%Y%m%dT%H%M%SZ")
    moved.parents[1].rename(old)
    (foreign := home.trash / "notes").mkdir()
    assert trash.empty() == 5
    assert list(home.trash.iterdir()) == [foreign]


def test_all_of_it_can_be_removed_at_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.job("job_a").checkpoints.mkdir(parents=True)
    Trash(home).move(home.job("job_a").path)
    Trash(home).empty(kept=timedelta())
    assert list(home.trash.iterdir()) == []
