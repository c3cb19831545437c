"""Let the first rank decide when all stop, save or end: they agree once a second, not at each step."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from adamss_core.training.ranks.ranks import Ranks

SECONDS = 1.0  # between two agreements


class Orders:
    """Questions that the first rank answers for all, at steps that all know.

    Args:
        questions: name -> function that the first rank asks. In a single process each is asked whenever it matters.
    """

    def __init__(self, ranks: Ranks, questions: dict[str, Callable[[], bool]]) -> None:
        self._ranks, self._questions = ranks, questions
        self._answers = dict.fromkeys(questions, False)
        self._met: int | None = None
        self._next = 0
        self._met_at = monotonic()

    def given(self, name: str, step: int) -> bool:
        """Return the first rank's answer after `step`; every rank must ask at every step. Between agreements: no."""
        if self._ranks.size == 1:
            return self._questions[name]()
        if self._met is None or (step >= self._next and step != self._met):
            self._meet(step)
        return self._met == step and self._answers[name]

    def _meet(self, step: int) -> None:
        now = monotonic()
        steps, seconds = (0, SECONDS) if self._met is None else (step - self._met, max(now - self._met_at, 1e-6))
        every = max(1, min(2 * steps, int(steps * SECONDS / seconds)))
        asked = {name: ask() for name, ask in self._questions.items()} if self._ranks.is_first else {}
        self._answers, self._next = self._ranks.from_first((asked, step + every))
        self._met, self._met_at = step, now
