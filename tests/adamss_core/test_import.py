"""Importing the package is free, and it says what it offers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import adamss_core

HEAVY = {"torch", "peft", "transformers", "sklearn", "numpy", "safetensors", "accelerate"}
TORCH_FREE = (
    "errors",
    "failpoints",
    "fileio.atomic",
    "fileio.fsync",
    "fileio.hashing",
    "fileio.walk",
    "fileio.zipping",
    "spec",
    "training",
    "training.checkpoints",
    "training.errors",
    "training.request",
)
API = {"AdamssAsaCallback", "Calibration", "export_lora", "get_adamss_model", "load_adapter", "merge_adapter"}
API |= {"save_adapter"}


def run(code: str) -> Any:
    """Runs code in a fresh interpreter and returns the JSON it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def test_importing_imports_no_heavy_library() -> None:
    loaded = run("import sys, json, adamss_core; dir(adamss_core)\nprint(json.dumps(sorted(sys.modules)))")
    assert HEAVY.isdisjoint(loaded)


def test_what_service_and_worker_import_is_torch_free() -> None:
    modules = ", ".join(f"adamss_core.{name}" for name in TORCH_FREE)
    loaded = run(f"import sys, json, {modules}\nprint(json.dumps(sorted(sys.modules)))")
    assert HEAVY.isdisjoint(loaded)


def test_file_primitives_need_the_standard_library_only() -> None:
    modules = [f"adamss_core.{name}" for name in TORCH_FREE if name.startswith(("errors", "failpoints", "fileio"))]
    before = "import sys, json; before = set(sys.modules)"
    loaded = run(f"{before}\nimport {', '.join(modules)}\nprint(json.dumps(sorted(set(sys.modules) - before)))")
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert foreign == {"adamss_core"}


def test_lists_its_api() -> None:
    assert set(adamss_core.__all__) == API
    assert set(dir(adamss_core)) >= API
    for name in API:
        assert callable(getattr(adamss_core, name))
        assert name in vars(adamss_core)  # found once, then an ordinary attribute


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = adamss_core.nothing
