"""Inspection of a base model in a child process, which may import torch; the service never does."""

from __future__ import annotations

import logging
import resource
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from service.shared.errors import InvalidRequest, Unavailable
from service.shared.processes.ask import Reply, ask_model_reader
from service.shared.processes.forkserver import ForkServer
from service.shared.processes.subprocesses import READER_LIMITS, READERS

logger = logging.getLogger(__name__)

MODULE = "adamss_core.inspection"
SECONDS = 90.0
LIMITS = READER_LIMITS | {resource.RLIMIT_FSIZE: 2**30}


def inspect(forkserver: ForkServer, model: str, revision: str | None, *, local: bool) -> dict[str, Any]:
    """Inspect a folder or hub id in a child process and return the facts of the model.

    Raises:
        InvalidRequest: the model cannot be used; the message has the reason.
        Unavailable: the inspection itself failed, for example by its time limit.
    """
    order = {"model": model, "revision": revision}
    with READERS.slot(), TemporaryDirectory(prefix="adamss-inspection-") as folder:
        reply = ask_model_reader(
            forkserver, MODULE, order, Path(folder), seconds=SECONDS, offline=local, limits=LIMITS, fetches=not local
        )
    return _facts(reply)


def _facts(reply: Reply) -> dict[str, Any]:
    if reply.exit_code is None:
        raise Unavailable(
            f"Inspecting the model took longer than {SECONDS:.0f} s. Try again; a slow disk or network may be why.",
            code="inspection_timeout",
        )
    if reply.answer is None or reply.exit_code != 0:
        logger.error("inspection failed", extra={"exit_code": reply.exit_code, "stderr": reply.log})
        message = "The model could not be inspected; the service's log has the reason."
        raise Unavailable(message, code="inspection_failed")
    if problem := reply.answer.get("error"):
        message = " ".join(str(problem[part]) for part in ("message", "hint") if problem.get(part))
        raise InvalidRequest(message, code=str(problem.get("code") or "model_unusable"), param="base_model")
    return reply.answer
