"""Join the processes that a launcher has started, and let the error of one end all of them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from adamss_core.errors import AdamssError
from adamss_core.training.errors import Stopped, TrainingError, is_out_of_memory
from adamss_core.training.launcher import is_launched, peers_live
from adamss_core.training.ranks.peers import JoinWatch, PeerWatch
from adamss_core.training.ranks.ranks import Ranks

T = TypeVar("T")
logger = logging.getLogger(__name__)

# The first rank may evaluate samples or publish for long while the others wait; deaths are noticed by `PeerWatch`.
TIMEOUT = timedelta(days=1)
JOIN_TIMEOUT = timedelta(minutes=5)
LOST_SECONDS = 2.0  # in which the end of a process is seen after that of its connections
REASON = "reason"  # key of the error that ended the run


class RankLost(TrainingError):
    """A message to the other processes failed: one of them has ended, for a reason of its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(
            "rank_lost",
            f"Another process of this run has died ({str(error).splitlines()[0][:200] if str(error) else error!r}).",
            hint="The run resumes from its last checkpoint. Look at the worker's log and the machine's memory.",
            deterministic=False,
        )

    def __reduce__(self) -> tuple[object, ...]:
        return RankLost, (RuntimeError(self.message),)


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the launcher's processes for the length of the block; without a launcher this process is alone.

    Raises:
        Stopped: rank 0 has ended the run with an error of its own, which it raises itself.
        TrainingError: of the rank that failed first, in rank 0.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    ranks = JoinedRanks()
    try:
        yield ranks
    except Exception as error:
        reason = ranks.explain(error)
        if reason is error:
            raise
        raise reason from error
    finally:
        ranks.close()


class JoinedRanks(Ranks):
    """Several processes on one host; hosts talk over gloo, devices over NCCL, or gloo where they are CPUs."""

    def __init__(self) -> None:
        gpu = torch.accelerator.current_accelerator(check_available=True)
        on_gpu = gpu is not None and gpu.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        ranks = int(os.environ["LOCAL_WORLD_SIZE"])
        with JoinWatch((lambda: peers_live(ranks)) if is_launched() else (lambda: True)):
            self._join(on_gpu=on_gpu)

    def _join(self, *, on_gpu: bool) -> None:
        self._store, self.rank, self.size = next(rendezvous("env://", timeout=JOIN_TIMEOUT))
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=PrefixStore("torch", self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=TIMEOUT,
        )
        self._hosts = dist.new_group(backend="gloo", timeout=TIMEOUT) if on_gpu else None  # None: the one there is
        self._own = PrefixStore("adamss", self._store)
        self._peers: PeerWatch | None = self._watch()

    def _watch(self) -> PeerWatch:
        self._own.set(f"pid{self.rank}", str(os.getpid()))
        pids = [int(self._own.get(f"pid{rank}")) for rank in range(self.size) if rank != self.rank]
        return PeerWatch(pids, lambda: self._own.check([REASON]))

    # --- messages -------------------------------------------------------------------------------------------------

    def any(self, flags: Sequence[bool]) -> list[bool]:
        message = torch.tensor(flags, dtype=torch.uint8)
        with _together():
            dist.all_reduce(message, dist.ReduceOp.MAX, group=self._hosts)
        return message.bool().tolist()

    def from_first(self, value: T) -> T:
        content = json.dumps(value).encode() if self.is_first else b""
        size = torch.tensor([len(content)])
        with _together():
            dist.broadcast(size, src=0, group=self._hosts)
            message = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else None
            if message is None:
                message = torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(message, src=0, group=self._hosts)
        received: T = json.loads(bytes(message.tolist()))
        return received

    def gather(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        content = safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        with _together():
            dist.all_gather(sizes, torch.tensor([len(content)]), group=self._hosts)
            longest = max(int(size) for size in sizes)
            message = torch.zeros(longest, dtype=torch.uint8)
            message[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            received = [torch.empty_like(message) for _ in range(self.size)]
            dist.all_gather(received, message, group=self._hosts)
        return [
            safetensors.torch.load(one[: int(size)].numpy().tobytes())
            for one, size in zip(received, sizes, strict=True)
        ]

    def add(self, tensor: Tensor) -> None:
        with _together():
            dist.all_reduce(tensor)

    def align(self, tensors: Iterable[Tensor]) -> None:
        with _together():
            for tensor in tensors:
                value = tensor.detach().contiguous()
                if value.numel():
                    dist.broadcast(value, src=0)
                tensor.detach().copy_(value)

    def wait(self) -> None:
        with _together():
            dist.barrier(group=self._hosts)

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    # --- the end --------------------------------------------------------------------------------------------------

    def part(self) -> None:
        self.wait()
        self.close()

    def close(self) -> None:
        """Leave the group, which ends the waiting of those that are still in it."""
        if self._peers is None:
            return
        self._peers.close()
        self._peers = None
        dist.destroy_process_group()

    def explain(self, error: Exception) -> Exception:
        """Return the error with which this process ends: that of the rank which failed first is told to all."""
        if self._peers is None or isinstance(error, Stopped):
            return error  # the ranks have parted, or all stop together
        if self.in_step and isinstance(error, RuntimeError) and self._is_of_others(error):
            error = RankLost(error)
        reason = _described(error) | {"rank": self.rank}
        with suppress(RuntimeError):  # the store is gone with rank 0, or with the launcher
            reason = json.loads(self._own.compare_set(REASON, "", json.dumps(reason)))
        if reason["rank"] == self.rank or (self.is_first and not isinstance(error, RankLost)):
            return error
        if not self.is_first:
            return Stopped(f"rank {reason['rank']} has ended the run: {reason['message']}")
        return TrainingError(
            reason["code"],
            f"Process {reason['rank']} of {self.size}: {reason['message']}",
            hint=reason["hint"],
            deterministic=reason["deterministic"],
            where=reason["where"],
        )

    def _is_of_others(self, error: RuntimeError) -> bool:
        """Return whether an error comes from a message of the divided base, whose sender has ended."""
        assert self._peers is not None
        if is_out_of_memory(error):
            return False
        with suppress(RuntimeError):
            if self._own.check([REASON]):
                return True
        return self._peers.lost.wait(LOST_SECONDS)


def _described(error: Exception) -> dict[str, Any]:
    if isinstance(error, AdamssError):
        return {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "where": error.where,
            "deterministic": getattr(error, "deterministic", True),
        }
    return {
        "code": "out_of_memory" if is_out_of_memory(error) else "rank_failed",
        "message": f"{type(error).__name__}: {error}"[:500],
        "hint": "See the job's log.",
        "where": None,
        "deterministic": False,
    }


@contextmanager
def _together() -> Iterator[None]:
    """Translate the failure of a collective."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(error) from error
