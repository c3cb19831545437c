"""Names of classes and modules mean one thing each in the whole project."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("adamss_core", "service", "worker", "migrations")

# A task has two halves of the same names: its record, free of torch, and its training.
HALVES = (Path("adamss_core/spec/tasks"), Path("adamss_core/training/tasks"))
# The same file name in many folders stands for the same role.
ROLES = {"__init__", "__main__", "app", "endpoints", "errors", "repository", "schemas", "service"}
# A module of a command line's command is named after the command.
COMMANDS = Path("service/cli")
# Both modules are about one subject, on the two sides of a process boundary.
SIDES = {
    "inspection": ("adamss_core/inspection.py", "service/base_models/inspection.py"),
    "presets": ("adamss_core/spec/presets.py", "service/jobs/presets.py"),
    "preview": ("adamss_core/training/preview.py", "service/datasets/preview.py"),
    "reports": ("adamss_core/training/reports.py", "service/jobs/reports.py"),
    "request": ("adamss_core/training/request.py", "worker/request.py"),
}


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path.relative_to(ROOT) for path in sorted((ROOT / package).rglob("*.py")))


def repeated(named: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    """Group by name; keep names of several modules, where both halves of a task count as one."""
    files: defaultdict[str, dict[Path, str]] = defaultdict(dict)
    for name, path in named:
        files[name].setdefault(HALVES[0] / path.name if path.parent in HALVES else path, path.as_posix())
    return {name: sorted(paths.values()) for name, paths in files.items() if len(paths) > 1}


def test_class_names_are_unique() -> None:
    classes = [
        (node.name, path)
        for path in modules()
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) > 200
    assert repeated(classes) == {}


def test_module_names_are_unique() -> None:
    named = [(path.stem, path) for path in modules() if path.stem not in ROLES and path.parent != COMMANDS]
    assert repeated(named) == {name: list(paths) for name, paths in SIDES.items()}
