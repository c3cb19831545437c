"""Importing the package is free, and it says what it offers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import adamss_core

API = {"AdamssAsaCallback", "export_lora", "get_adamss_model", "load_adapter", "merge_adapter", "save_adapter"}


def run(code: str) -> Any:
    """Runs code in a fresh interpreter and returns the JSON it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def test_importing_imports_no_heavy_library() -> None:
    loaded = run(
        "import sys, json, adamss_core, adamss_core.errors; dir(adamss_core)\n"
        "heavy = {'torch', 'peft', 'transformers', 'sklearn', 'numpy', 'safetensors'}\n"
        "print(json.dumps(sorted(heavy & set(sys.modules))))"
    )
    assert loaded == []


def test_lists_its_api() -> None:
    assert set(adamss_core.__all__) == API
    assert set(dir(adamss_core)) >= API
    for name in API:
        assert callable(getattr(adamss_core, name))
        assert name in vars(adamss_core)  # found once, then an ordinary attribute


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = adamss_core.nothing
