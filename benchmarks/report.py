"""Tables with limits, as text and as JSON."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Limit:
    """A measured value and its limit."""

    name: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def ok(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def render(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"  {self.name}: {self.value:.4g}  (limit {sign} {self.limit:.4g})  {'ok' if self.ok else 'MISSED'}"


@dataclass
class Section:
    """One table. `rows` are raw numbers; `formats` are the columns' print formats."""

    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def render(self) -> str:
        cells = [self.columns, *([cell(value) for value in row] for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        notes = [f"  {note}" for note in self.notes]
        return "\n".join([f"\n== {self.title}", *lines, *notes, *(limit.render() for limit in self.limits)])

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "limits": [{**asdict(limit), "ok": limit.ok} for limit in self.limits],
            "notes": self.notes,
        }


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def environment() -> dict[str, Any]:
    """Describe the machine and package versions."""
    packages = ("torch", "peft", "transformers", "scikit-learn", "numpy")
    return {
        "cpu": _cpu_model(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def write_json(path: Path, sections: list[Section], **more: Any) -> None:
    """Write all sections and the environment into one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"environment": environment(), "sections": [section.as_json() for section in sections], **more}
    path.write_text(json.dumps(content, indent=1) + "\n")
