"""Run the process that holds a trained model: a child of the API, started on demand, and ended when it is idle, slow
or too large.

A child rather than a job for a worker: workers train, and a prediction must not wait for hours behind a run, nor take
its memory. All that is needed lies in the home folder, which every API process has.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import resource
import select
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Event, Lock, Timer
from time import monotonic
from typing import IO, Any

from adamss_core.fileio.exchange import remove_order, write_order
from service.shared.errors import TimedOut, TooManyRequests, Unavailable
from service.shared.processes.forkserver import ForkServer
from service.shared.processes.spawned_process import Launch, TimeoutExpired
from service.shared.processes.subprocesses import model_environment
from service.shared.settings import Settings

logger = logging.getLogger(__name__)

MODULE = "adamss_core.prediction"
LOCK = "lock"
WAITING = 4  # requests that may wait for the one at work; each holds a thread of the API
RETRY_SECONDS = 5
MAX_ANSWER_BYTES = 64 * 2**20
LOOK_SECONDS = 0.25  # between two looks at whether anybody still wants the answer
CANCEL_SECONDS = 10.0  # for the child to end what nobody wants: a model that is being loaded is loaded first
SPARE_SECONDS = 1.0  # of the time limit, for the end of a text that reaches it
CANCEL = b"c"
PIECE, WRITING = "piece", "writing"
LOG_BYTES = 10_000_000
Order = dict[str, Any]


class PredictionQueue:
    """Queue of prediction requests in front of one child process."""

    def __init__(self, settings: Settings, forkserver: ForkServer) -> None:
        self._settings, self._forkserver = settings, forkserver
        self._turn, self._queue, self._waiting = Lock(), Condition(), 0
        self._child: PredictingProcess | None = None
        self._timer: Timer | None = None

    def ask(self, order: Order) -> dict[str, Any]:
        """Send an order to the child; return its answers or its error.

        Raises:
            TooManyRequests: too many requests wait already.
            TimedOut: no answer within `predict_timeout_seconds`, loading and waiting included.
            Unavailable: the child ended instead of answering.
        """
        *_, answer = self.follow(order, Event())
        return answer

    def follow(self, order: Order, cancelled: Event) -> Generator[dict[str, Any]]:
        """Send an order to the child; yield {"piece": ...} while it writes, and its answers or its error at last.

        The place is free again once the iterator is at its end or closed.

        Args:
            cancelled: set from another thread where nobody wants the rest.

        Raises:
            TooManyRequests, TimedOut, Unavailable: as `ask`.
        """
        deadline = monotonic() + self._settings.predict_timeout_seconds
        with self._in_turn(deadline, cancelled):
            self._stop_timer()
            try:
                if self._child is None or not self._child.alive:
                    self._end()
                    self._child = PredictingProcess(self._settings, self._forkserver)
                yield from self._child.follow(order, deadline, cancelled)
            except GeneratorExit:  # nobody reads on; the child was told so, and has answered
                raise
            except BaseException:  # of any kind: the next request gets a fresh process
                self._end()
                raise
            finally:
                self._start_timer()

    def close(self) -> None:
        """End the child, without waiting for a request that is being answered."""
        if (child := self._child) is not None:
            child.kill()
        with self._turn:
            self._stop_timer()
            self._end()

    @contextmanager
    def _in_turn(self, deadline: float, cancelled: Event) -> Iterator[None]:
        with self._queue:
            if self._waiting > WAITING:
                raise _busy()
            self._waiting += 1
        try:
            while not self._turn.acquire(timeout=max(0.0, min(LOOK_SECONDS, deadline - monotonic()))):
                if cancelled.is_set() or monotonic() >= deadline:
                    raise _busy()
            try:
                yield
            finally:
                self._turn.release()
        finally:
            with self._queue:
                self._waiting -= 1

    def _start_timer(self) -> None:
        if self._child is not None:
            self._timer = Timer(self._settings.predict_idle_seconds, self._end_idle)
            self._timer.daemon = True
            self._timer.start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end_idle(self) -> None:
        if self._turn.acquire(blocking=False):  # else a request is at work, which sets a new timer
            try:
                self._end()
            finally:
                self._turn.release()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()


class PredictingProcess:
    """One process of `adamss_core.prediction`, with a folder of its own for orders and for what it unpacks."""

    def __init__(self, settings: Settings, forkserver: ForkServer) -> None:
        folder = settings.files.predictions
        clear_orphans(folder)
        self._settings, self._unread = settings, bytearray()
        self.scratch = Path(tempfile.mkdtemp(dir=folder))
        unnamed = self.scratch / f".{LOCK}"  # never seen without being held
        self._lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        unnamed.rename(self.scratch / LOCK)
        environment = model_environment(offline=not (settings.hub_allowed or settings.hub_models))
        # The kernel refuses memory beyond the limit, so that a prediction cannot bring the machine down. Private,
        # writable memory: the whole address space would count what torch reserves and never uses.
        limits = {resource.RLIMIT_DATA: settings.predict_memory_bytes, resource.RLIMIT_CORE: 0}
        (stdin, self._requests), (self._replies, stdout) = os.pipe(), os.pipe()
        with open_log(settings.files.log("predict")) as log:
            launch = Launch(environment, stdin, stdout, log.fileno(), limits=limits)
            self._process = forkserver.start(MODULE, [str(self.scratch)], launch)
        os.close(stdin)
        os.close(stdout)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def follow(self, order: Order, deadline: float, cancelled: Event) -> Iterator[dict[str, Any]]:
        """Yield the lines for an order; once cancelled, the child is told to stop, and its last line comes soon."""
        write_order(self.scratch, order | self._time_left(order, deadline))
        try:
            with suppress(BrokenPipeError):  # it has ended, which reading finds out
                os.write(self._requests, b"\n")
            is_last = False
            try:
                while not is_last:
                    line: dict[str, Any] = json.loads(self._line(deadline, cancelled))
                    is_last = PIECE not in line
                    yield line
            except GeneratorExit:
                cancelled.set()
                while not is_last:
                    is_last = PIECE not in json.loads(self._line(deadline, cancelled))
                raise
        finally:
            remove_order(self.scratch)

    def _time_left(self, order: Order, deadline: float) -> Order:
        """Return the order's writing with the seconds after which its text is left as it is."""
        if WRITING not in order:
            return {}
        return {WRITING: order[WRITING] | {"seconds": max(0.0, deadline - monotonic() - SPARE_SECONDS)}}

    def _line(self, deadline: float, cancelled: Event) -> bytes:
        told = False
        while b"\n" not in self._unread:
            if cancelled.is_set() and not told:
                told, deadline = True, min(deadline, monotonic() + CANCEL_SECONDS)
                with suppress(BrokenPipeError):
                    os.write(self._requests, CANCEL)
            left = deadline - monotonic()
            if left <= 0:
                raise TimedOut(
                    f"There was no answer within {self._settings.predict_timeout_seconds:g} s. Send fewer or shorter "
                    "inputs, or have the operator raise ADAMSS_PREDICT_TIMEOUT_SECONDS.",
                    code="predict_timeout",
                )
            if not select.select([self._replies], [], [], min(left, LOOK_SECONDS))[0]:
                continue
            part = os.read(self._replies, 2**20)
            self._unread += part
            if not part or len(self._unread) > MAX_ANSWER_BYTES:
                raise self._ended()
        line, _, rest = bytes(self._unread).partition(b"\n")
        self._unread = bytearray(rest)
        return line

    def _ended(self) -> Unavailable:
        with suppress(TimeoutExpired):
            self._process.wait(5)
        logger.error("the predicting process ended", extra={"exit_code": self._process.returncode})
        return Unavailable(
            "The process that predicts ended before it answered, most likely for lack of memory. Send fewer or "
            "shorter inputs; the service's predict.log says more.",
            code="predict_crashed",
            retry_after=RETRY_SECONDS,
        )

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self.kill()
        self._process.wait()
        os.close(self._requests)
        os.close(self._replies)
        shutil.rmtree(self.scratch, ignore_errors=True)
        os.close(self._lock)


def open_log(path: Path) -> IO[bytes]:
    """Open the log for appending; move a long one of earlier processes aside."""
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")


def clear_orphans(folder: Path) -> None:
    """Remove the folders of processes whose parent was killed: their locks are free."""
    for lock in folder.glob(f"*/{LOCK}"):
        with suppress(OSError), lock.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


def _busy() -> TooManyRequests:
    return TooManyRequests(
        "Other predictions are at work and waiting. Try again in a few seconds, or send several inputs in one request.",
        code="predict_busy",
        retry_after=RETRY_SECONDS,
    )
