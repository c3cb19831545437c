"""Turn a forked process into the one that was ordered: streams, environment, limits, and the module's `main`."""

from __future__ import annotations

import importlib
import logging
import os
import resource
import sys
from typing import Any

from setproctitle import setproctitle

from service.shared.processes.parent_death import die_with_parent
from service.shared.processes.spawned_process import python


def become(order: dict[str, Any]) -> object:
    """Run an order's module in this process, and return what its `main` returns.

    Args:
        order: as `forkserver` sends it, with the file descriptors of the three streams.
    """
    die_with_parent()  # the server, which ends with its own
    os.setsid() if order["own_session"] else os.setpgid(0, 0)
    for handle, stream in enumerate(order["streams"]):
        os.dup2(stream, handle)
        os.close(stream)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    for kind, value in order["limits"]:
        resource.setrlimit(kind, (value, value))
    logging.getLogger().handlers.clear()  # the server's
    _renew_libraries()
    module, arguments = order["module"], order["arguments"]
    setproctitle(" ".join(python(module, *arguments)))
    sys.argv = [module, *arguments]
    return importlib.import_module(module).main()


def _renew_libraries() -> None:
    """Undo what the server did to libraries, and what they would share with every other forked process."""
    if "numpy" not in sys.modules:  # nothing to undo
        return
    import numpy as np
    from threadpoolctl import threadpool_limits

    np.random.seed()  # libraries use the global generator
    asked = os.environ.get("OMP_NUM_THREADS")
    threadpool_limits(int(os.environ.get("OPENBLAS_NUM_THREADS") or asked or os.cpu_count() or 1), user_api="blas")
    if asked and (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(int(asked))
