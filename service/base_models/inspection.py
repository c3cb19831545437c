"""Facts of a base model, from a child process that may import torch; this one never does."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from service.environment import for_libraries
from service.errors import InvalidRequest, Unavailable

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "adamss_core.inspection")
SECONDS = 90.0
CPU_SECONDS = 60
MEMORY_BYTES = 32 * 2**30  # of addresses: torch alone reserves much
FILE_BYTES = 2**30


def inspect(model: str, revision: str | None, *, local: bool) -> dict[str, Any]:
    """Runs the inspection of a folder or hub id.

    Raises:
        InvalidRequest: the model cannot be used, with the reason.
        Unavailable: the inspection itself failed, such as by its time limit.
    """
    arguments = [*COMMAND, model, *(["--revision", revision] if revision else [])]
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(local),
        start_new_session=True,
    )
    try:
        _limit(process.pid)
        output, log = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(
            f"Inspecting the model took longer than {SECONDS:.0f} s. Try again; a slow disk or network may be why.",
            code="inspection_timeout",
        ) from error
    finally:
        _end(process)
    return _read(output, log, process.returncode)


def _read(output: bytes, log: bytes, code: int) -> dict[str, Any]:
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        problem = answer.get("error")
        if code == 0 and problem is None:
            return answer
        if isinstance(problem, dict):
            message = " ".join(str(problem[part]) for part in ("message", "hint") if problem.get(part))
            raise InvalidRequest(message, code=str(problem.get("code") or "model_unusable"), param="base_model")
    logger.error("inspection failed", extra={"exit_code": code, "stderr": log[-2_000:].decode(errors="replace")})
    raise Unavailable("The model could not be inspected; the service's log says why.", code="inspection_failed")


def _environment(local: bool) -> dict[str, str]:
    """Without our settings, which may hold keys and passwords; offline where the model is a folder."""
    kept = for_libraries(os.environ)
    kept |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return kept | ({"HF_HUB_OFFLINE": "1"} if local else {})


def _limit(pid: int) -> None:
    if sys.platform != "linux":  # elsewhere only the time limit holds
        return
    limits = {
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    with suppress(ProcessLookupError):
        for kind, value in limits.items():
            resource.prlimit(pid, kind, (value, value))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
