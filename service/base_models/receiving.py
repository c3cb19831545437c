"""Hand an archive to the process that unpacks it, piece by piece as it arrives, without a copy in between."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from service.base_models.model_archive import refuse
from service.base_models.unpacking import UnpackOrder
from service.shared.errors import Unavailable
from service.shared.processes.ask import Reply, ask
from service.shared.processes.environment import for_sandbox
from service.shared.processes.refusals import refusal_in
from service.shared.processes.spawned_process import python
from service.shared.processes.subprocesses import ConcurrencyLimit
from service.shared.storage.model_folder import ModelFile

logger = logging.getLogger(__name__)

COMMAND = python("service.base_models.unpacking")
SECONDS = 86_400.0
MAX_RECEIVING = 4  # each has a process and a thread of its own
RETRY_SECONDS = 60

RECEIVING = ConcurrencyLimit(MAX_RECEIVING, f"The service takes {MAX_RECEIVING} models at a time.", RETRY_SECONDS)


@dataclass(frozen=True)
class Received:
    """The files of an unpacked and checked model, in its partial folder.

    Attributes:
        left_out: first names of the files that no model is loaded from.
        left_out_count: of all of them.
    """

    files: dict[str, ModelFile]
    left_out: list[str]
    left_out_count: int


async def receive(stream: AsyncIterator[bytes], folder: Path, limit: int) -> Received:
    """Unpack an archive into `folder` while it arrives.

    Raises:
        InvalidRequest, TooLarge: the archive or its model cannot be used.
        Unavailable: the process that unpacks failed.
    """
    ours, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=ours)
    own_thread = CapacityLimiter(1)  # waits as long as the upload takes: those of short requests are too few for that
    child = asyncio.ensure_future(run_sync(_ask, theirs, folder, limit, limiter=own_thread))
    child.add_done_callback(lambda _: writer.transport.abort())  # wakes the pump below
    try:
        await _pump(stream, writer)
        reply = await asyncio.shield(child)
    finally:
        writer.transport.abort()  # ends the child where the upload broke off
        await asyncio.wait([child])
    return _received(reply)


async def _pump(stream: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    try:
        async for piece in stream:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except OSError:  # the child has ended before the archive: it says why
        pass


def _ask(theirs: socket.socket, folder: Path, limit: int) -> Reply:
    with theirs, theirs.makefile("rb") as stdin:
        return ask(
            COMMAND,
            asdict(UnpackOrder(limit)),
            folder,
            seconds=SECONDS,
            environment=for_sandbox(os.environ, folder),
            stdin=stdin,
        )


def _received(reply: Reply) -> Received:
    if reply.answer is None or reply.exit_code != 0:
        if f"[Errno {errno.ENOSPC}]" in reply.log or f"[Errno {errno.EDQUOT}]" in reply.log:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        logger.error("unpacking a model failed", extra={"exit_code": reply.exit_code, "stderr": reply.log})
        if reply.exit_code is not None and reply.exit_code < 0:
            raise refuse("damaged_archive", "The archive is damaged: its reader was ended. Pack it again.")
        raise Unavailable("The model could not be unpacked; see the service's log. Try again.", code="unpacking_failed")
    if (refusal := refusal_in(reply.answer)) is not None:
        raise refusal
    return Received(**reply.answer)
