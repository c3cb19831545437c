"""Pieces of the benchmark: each is one run, kept in a file as soon as it is done, for a stopped benchmark to go on."""

from __future__ import annotations

import base64
import json
import os
import time
import traceback
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality.contenders import CONTENDERS, field_of
from benchmarks.quality.data import TASKS

TUNING_SEEDS, SEEDS = (100,), (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Piece:
    """One run: rates are chosen on `tune`, and the chosen one is measured on `test`."""

    task: str
    contender: str
    rate: float
    seed: int
    part: str

    @property
    def key(self) -> str:
        return f"{self.task}|{self.contender}|{self.rate:g}|{self.seed}|{self.part}"


@dataclass(frozen=True)
class Setting:
    """Where and how pieces run.

    Attributes:
        share: of the rows that is used.
    """

    device: str
    share: float


class Results:
    """Finished pieces by their key, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.done: dict[str, dict[str, Any]] = {entry["key"]: entry for entry in map(json.loads, lines)}

    def add(self, entry: dict[str, Any]) -> None:
        self.done[entry["key"]] = entry
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def of(self, task: str, contender: str, part: str) -> list[dict[str, Any]]:
        wanted = (task, contender, part)
        return [entry for entry in self.done.values() if (entry["task"], entry["contender"], entry["part"]) == wanted]

    def best_rate(self, task: str, contender: str) -> float | None:
        """Return the rate with the best mean on the rows to tune on; None while one of them is missing."""
        scores: dict[float, list[float]] = {}
        for entry in self.of(task, contender, "tune"):
            scores.setdefault(entry["rate"], []).append(entry["score"])
        rates = rates_of(task, contender)
        if any(len(scores.get(rate, ())) < len(TUNING_SEEDS) for rate in rates):
            return None
        return max(rates, key=lambda rate: sum(scores[rate]) / len(scores[rate]))


def rates_of(task: str, contender: str) -> tuple[float, ...]:
    return TASKS[task].base.rates[CONTENDERS[contender].kind]


def entered(tasks: Sequence[str], contenders: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of task and contender of those asked for that there are."""
    return [(task, name) for name in contenders for task in tasks if name in field_of(TASKS[task])]


def tuning(tasks: Sequence[str], contenders: Sequence[str]) -> list[Piece]:
    return [
        Piece(task, name, rate, seed, "tune")
        for seed in TUNING_SEEDS
        for task, name in entered(tasks, contenders)
        for rate in rates_of(task, name)
    ]


def reported(results: Results, tasks: Sequence[str], contenders: Sequence[str]) -> list[Piece]:
    """Return the runs to report, at each contender's best rate, seed by seed."""
    best = {(task, name): results.best_rate(task, name) for task, name in entered(tasks, contenders)}
    return [
        Piece(task, name, rate, seed, "test")
        for seed in SEEDS
        for (task, name), rate in best.items()
        if rate is not None
    ]


def run_all(pieces: Iterable[Piece], results: Results, setting: Setting, processes: int, until: float) -> None:
    """Run what is not done yet, several at a time; begin nothing after `until`, a monotonic time."""
    waiting = [piece for piece in pieces if piece.key not in results.done]
    total, begun = len(waiting), time.monotonic()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_prepare) as pool:
        running: set[Future[dict[str, Any]]] = set()
        while waiting or running:
            while waiting and len(running) < processes and time.monotonic() < until:
                running.add(pool.submit(run_piece, waiting.pop(0), setting))
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                entry = future.result()
                if "error" in entry:
                    print(entry["key"], entry["error"], flush=True)
                else:
                    results.add(entry)
        print(f"{total - len(waiting)} of {total} runs in {time.monotonic() - begun:.0f} s", flush=True)


def _prepare() -> None:
    """Give each process one thread, as several run side by side."""
    import warnings

    from transformers.utils import logging

    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def run_piece(piece: Piece, setting: Setting) -> dict[str, Any]:
    """Run one piece; an error is returned, as the others go on."""
    from benchmarks.quality.training import Rates, measure

    task, contender = TASKS[piece.task], CONTENDERS[piece.contender]
    try:
        folder = task.base.folder()
        found = measure(
            contender, task, Rates(piece.rate), piece.seed, piece.part, folder, setting.share, setting.device
        )
    except Exception:
        return {"key": piece.key, "error": traceback.format_exc(limit=3)}
    return {
        "key": piece.key,
        **asdict(piece),
        "score": round(found.score, 4),
        "peak": found.peak,
        "end": found.end,
        "published": contender.published(task.base) if contender.published else found.peak,
        "seconds": round(found.seconds, 2),
        "device": setting.device,
        **({"outputs": pack(found.outputs.numpy())} if piece.part == "test" else {}),
    }


def pack(outputs: Any) -> str:
    """Encode a number for each row as text, in half precision."""
    return base64.b64encode(zlib.compress(outputs.astype(np.float16).tobytes(), 9)).decode()


def unpack(text: str) -> Any:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.float16).astype(np.float64)
