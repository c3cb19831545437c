"""Heavy imports, made once for all parts where processes are forked (`Launcher.method`)."""

from contextlib import suppress
from importlib import import_module

for name in ("exactness", "steps", "runs"):
    with suppress(ImportError):  # a part whose packages are missing is left out by name
        import_module(f"benchmarks.gpu_check.{name}")
