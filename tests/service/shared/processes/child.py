"""A module that tests run as a process: `main()` does what its first argument says."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def facts() -> dict[str, Any]:
    """What the process is like; torch is among its modules if it was forked from a server that imported it."""
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgrp(),
        "session": os.getsid(0),
        "folder": str(Path.cwd()),
        "arguments": sys.argv[1:],
        "environment": dict(os.environ),
        "modules": sorted(name for name in sys.modules if "." not in name),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "path": sys.path,
        "random": random.random(),
        "term": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
    }


def main() -> int:
    wish = sys.argv[1]
    if wish == "facts":
        print(json.dumps(facts()))
    elif wish == "echo":
        print(sys.stdin.readline().strip())
        print("to stderr", file=sys.stderr)
    elif wish == "sleep":
        print("asleep", flush=True)
        time.sleep(600)
    elif wish == "grandchild":
        print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
        time.sleep(600)
    elif wish == "raise":
        raise ValueError("as asked")
    elif wish == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif wish == "memory":
        bytearray(1200 * 2**20)
    return 7


if __name__ == "__main__":
    sys.exit(main())
