"""Collate batches ahead in threads while the model computes."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from torch import Tensor

from adamss_core.training.batches import Collate, Encoded, Inputs

Batch = tuple[Inputs, Tensor]


class Prefetch:
    """Callable that collates rows, from a thread pool where they were announced by `expect`.

    A batch is a function of its rows, so prefetching cannot change it. Threads suffice: decoding images and tokenising
    release the GIL.
    """

    def __init__(self, collate: Collate, data: Encoded, threads: int) -> None:
        self._collate, self._data = collate, data
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, "batches") if threads else None
        self._ready: dict[tuple[int, ...], Future[Batch]] = {}

    def __call__(self, rows: list[int]) -> Batch:
        """Return the batch of these rows; errors of the collate are raised here."""
        pending = self._ready.pop(tuple(rows), None)
        return self._collate(self._data, rows) if pending is None else pending.result()

    def expect(self, batches: Iterable[list[int]]) -> None:
        """Start collating the next batches, as many as threads allow; cancel batches that are not among them."""
        if self._pool is None:
            return
        upcoming = {tuple(rows): rows for rows in islice(batches, self._threads + 1)}
        for key in self._ready.keys() - upcoming.keys():
            self._ready.pop(key).cancel()
        for key, rows in upcoming.items():
            if key not in self._ready:
                self._ready[key] = self._pool.submit(self._collate, self._data, rows)

    def close(self) -> None:
        """Stop the threads; the first call waits for batches in progress."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
