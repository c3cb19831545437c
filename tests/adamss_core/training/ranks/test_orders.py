"""All ranks get the first one's answers, at the same steps, about once a second."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

import pytest

from adamss_core.training.ranks import Ranks, orders
from adamss_core.training.ranks.orders import Orders

T = TypeVar("T")
STEPS, STEP_SECONDS = 4_000, 0.001


class OneOfTwo(Ranks):
    """A rank whose messages lie in a queue; the first one asks first."""

    size = 2

    def __init__(self, rank: int, messages: deque[object]) -> None:
        self.rank, self._messages = rank, messages

    def from_first(self, value: T) -> T:
        if self.is_first:
            self._messages.append(value)
            return value
        return self._messages.popleft()  # type: ignore[return-value]


def test_ranks_agree_about_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(orders, "monotonic", lambda: now)
    asked_at: list[float] = []
    messages: deque[object] = deque()

    def ask() -> bool:
        asked_at.append(now)
        return now > 2.5

    first = Orders(OneOfTwo(0, messages), {"stop": ask})
    second = Orders(OneOfTwo(1, messages), {"stop": pytest.fail})
    stopped = []
    for step in range(STEPS):
        answers = [one.given("stop", step) for one in (first, second)]
        assert answers[0] == answers[1]
        if answers[0]:
            stopped.append(now)
        now += STEP_SECONDS
    assert messages == deque()
    assert len(asked_at) < 20
    assert stopped[0] - 2.5 <= 1.1


@pytest.mark.parametrize("ranks", [OneOfTwo(0, deque()), Ranks()])
def test_slow_steps_are_asked_each_time_and_so_is_a_single_process(
    monkeypatch: pytest.MonkeyPatch, ranks: Ranks
) -> None:
    asked: list[float] = []
    clock = iter(range(0, 100, 2))
    monkeypatch.setattr(orders, "monotonic", lambda: float(next(clock)))
    own = Orders(ranks, {"stop": lambda: bool(asked.append(0.0))})  # type: ignore[func-returns-value]
    assert not any(own.given("stop", step) for step in range(5))
    assert len(asked) == 5
