"""Inspection of a base model in a child process, which may import torch; the service never does."""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
from typing import Any

from service.shared.errors import InvalidRequest, Unavailable
from service.shared.processes import subprocesses

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "adamss_core.lean", "adamss_core.inspection")
SECONDS = 90.0
LIMITS = subprocesses.READER_LIMITS | {resource.RLIMIT_FSIZE: 2**30}


def inspect(model: str, revision: str | None, *, local: bool) -> dict[str, Any]:
    """Inspect a folder or hub id and return the facts of the model.

    Raises:
        InvalidRequest: the model cannot be used; the message has the reason.
        Unavailable: the inspection itself failed, for example by its time limit.
    """
    arguments = [*COMMAND, model, *(["--revision", revision] if revision else [])]
    with subprocesses.READERS.slot():
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=subprocesses.model_environment(offline=local) | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            subprocesses.limit(process.pid, LIMITS)
            output, log = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"Inspecting the model took longer than {SECONDS:.0f} s. Try again; a slow disk or network may be why.",
                code="inspection_timeout",
            ) from error
        finally:
            subprocesses.end(process)
    return _read(output, log, process.returncode)


def _read(output: bytes, log: bytes, code: int) -> dict[str, Any]:
    try:
        facts = json.loads(output)
    except ValueError:
        facts = None
    if isinstance(facts, dict):
        problem = facts.get("error")
        if code == 0 and problem is None:
            return facts
        if isinstance(problem, dict):
            message = " ".join(str(problem[part]) for part in ("message", "hint") if problem.get(part))
            raise InvalidRequest(message, code=str(problem.get("code") or "model_unusable"), param="base_model")
    logger.error("inspection failed", extra={"exit_code": code, "stderr": log[-2_000:].decode(errors="replace")})
    raise Unavailable("The model could not be inspected; the service's log has the reason.", code="inspection_failed")
