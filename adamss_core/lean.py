"""Run a module of the core without bitsandbytes: `python -m adamss_core.lean MODULE ARGUMENTS`.

PEFT imports bitsandbytes wherever it is installed, and bitsandbytes imports torch's compiler: 2 of the 7 seconds of CPU
time that a process needs before its first line of work, and a line of noise in its log. Only a quantised base needs it.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

LIBRARY = "bitsandbytes"


def leave_out_bitsandbytes() -> None:
    """Make bitsandbytes look uninstalled to this process; without effect once it is imported.

    Call this before the first import of peft.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault(LIBRARY, None)  # importlib's own mark of a module that must not be imported


def main() -> None:
    """Run the module named by the first argument as `python -m` would."""
    leave_out_bitsandbytes()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
