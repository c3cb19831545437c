"""Batches made ahead by threads while the model computes."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from torch import Tensor

from adamss_core.training.batches import Collate, Encoded, Inputs

Batch = tuple[Inputs, Tensor]


class Prefetch:
    """A collate that may have been told before what it will be asked for.

    A batch is a function of its rows, so it is the same whoever makes it and when. Threads do: what takes time is
    decoding images and tokenising, which leave the interpreter to others.
    """

    def __init__(self, collate: Collate, data: Encoded, threads: int) -> None:
        self._collate, self._data = collate, data
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "batches") if threads else None
        self._ready: dict[tuple[int, ...], Future[Batch]] = {}

    def __call__(self, rows: list[int]) -> Batch:
        """Raises what making the batch raises."""
        made = self._ready.pop(tuple(rows), None)
        return self._collate(self._data, rows) if made is None else made.result()

    def expect(self, batches: Iterable[list[int]]) -> None:
        """What will be asked for next, as far as there are threads for it; what is expected no more is forgotten."""
        if self._pool is None:
            return
        wanted = {tuple(rows): rows for rows in islice(batches, self._threads + 1)}
        for key in self._ready.keys() - wanted.keys():
            self._ready.pop(key).cancel()
        for key, rows in wanted.items():
            if key not in self._ready:
                self._ready[key] = self._pool.submit(self._collate, self._data, rows)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
