"""Work in the background: each piece once, one at a time, and what failed stays failed."""

from __future__ import annotations

from threading import Event

from service.shared.processes.background import BackgroundQueue

SECONDS = 30.0


def test_each_piece_is_done_once_and_in_turn() -> None:
    queue, done, release = BackgroundQueue("test"), list[str](), Event()
    begun, ended = Event(), Event()

    def first() -> None:
        begun.set()
        assert release.wait(SECONDS)
        done.append("first")

    def second() -> None:
        done.append("second")
        ended.set()

    assert queue.ask("a", first)
    assert begun.wait(SECONDS)
    assert queue.ask("a", second)  # under way: not queued again
    assert queue.ask("b", second)
    assert done == []
    release.set()
    assert ended.wait(SECONDS)
    assert done == ["first", "second"]
    queue.close()


def test_a_failure_is_kept_with_its_reason() -> None:
    queue, ended = BackgroundQueue("test"), Event()

    def fail() -> str:
        raise ValueError("full")  # of no kind that work is known to raise: a fault of ours

    def last() -> None:
        ended.set()

    assert queue.ask("a", fail)
    assert queue.ask("b", last)
    assert ended.wait(SECONDS)
    assert not queue.ask("a", last)
    assert "full" in (queue.problem("a") or "")
    assert queue.problem("b") is None
    queue.close()
    assert queue.ask("c", fail)  # closed: still to come, by another process
