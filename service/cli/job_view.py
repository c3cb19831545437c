"""Rendering of a job in the terminal: progress, metrics and the map of subspaces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adamss_core.visible import visible
from service.cli.output import duration
from service.cli.subspace_map import subspace_map
from service.client.types import EventJson, JobJson, SampleJson, SamplesJson, SubspaceMapJson

BARS = "▁▂▃▄▅▆▇█"
COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
FRAME_LINES = 14  # lines around the map
MAX_WIDTH = 110
MOST_SAMPLES = 3  # beside the progress; `adamss jobs samples` prints all
PHASES = {
    "starting": "starts its process",
    "fetching_model": "fetches the base model",
    "fetching": "fetches its files to this host",
    "loading": "loads rows and base model",
    "tokenising": "encodes the rows",
    "decomposing": "decomposes the weights",
    "restoring": "loads its last checkpoint",
    "calibrating": "takes the basis from training rows",
    "training": "trains",
    "evaluating": "evaluates the model",
    "publishing": "writes the artifacts",
    "verifying": "checks the written artifacts",
    "comparing": "trains the contenders",
}


@dataclass
class JobView:
    """State of a job at one moment."""

    job: JobJson
    values: dict[str, float] = field(default_factory=dict)  # the latest value of each metric
    losses: list[float] = field(default_factory=list)
    subspaces: SubspaceMapJson | None = None
    event: EventJson | None = None  # the last event
    phase: str | None = None  # such as loading, as its last event of that type names it
    samples: SamplesJson | None = None  # the newest texts of a model that writes
    before: dict[str, float] = field(default_factory=dict)  # the evaluation before training

    def take(self, events: Iterable[EventJson]) -> None:
        """Note what new events say of phase and samples."""
        for event in events:
            self.event = event
            if event["type"] == "phase":
                self.phase = event.get("data", {}).get("phase")
            elif event["type"] == "started":
                self.phase = "starting"
            elif event["type"] == "samples":
                self.samples = cast(SamplesJson, event.get("data"))


def render_job(view: JobView, width: int, height: int) -> RenderableType:
    """Render the job as a panel.

    Args:
        width: width of the terminal in columns.
        height: height of the terminal in lines.
    """
    job, width = view.job, min(width, MAX_WIDTH)
    inner = width - 6
    parts: list[RenderableType] = [_progress(job, inner), Text(), _numbers(view, inner)]
    if view.samples is not None:
        parts += [Text(), _samples(view.samples)]
    if view.subspaces is not None and view.subspaces["modules"]:
        parts += [Text(), subspace_map(view.subspaces, inner, height - FRAME_LINES), _legend()]
    if line := closing(view):
        parts += [Text(), line]
    title = Text.assemble(
        (visible(job["name"]), "bold"), f"  {job['id']}  ", (job["status"], COLOURS.get(job["status"], ""))
    )
    return Panel(Group(*parts), title=title, title_align="left", padding=(1, 2), width=width, border_style="dim")


def closing(view: JobView) -> Text | None:
    """Render the last line: the error of a failed job, else the last event."""
    error = view.job["error"]
    if view.job["status"] == "failed" and error:
        return Text.assemble((visible(error["message"]), "red"), f" {visible(error.get('hint') or '')}")
    return Text(visible(view.event["message"]), style="dim") if view.event else None


def asa_counts(view: JobView) -> str | None:
    """Format active and target subspaces, such as `72 active → 60 of 120`."""
    asa = view.job["asa"]
    if not asa:
        return None
    active = round(view.values.get("active_subspaces", asa["active"]))
    return f"{active} active → {asa['target']} of {asa['total']}" if asa["target"] is not None else f"{active}"


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw a series in one line; each sign is the mean of its interval."""
    if len(values) < 2 or width < 1:
        return ""
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def _progress(job: JobJson, width: int) -> Table:
    progress = job["progress"]
    total = max(1, progress["total_steps"])
    row = Table.grid(padding=(0, 2))
    eta = f"ETA {duration(progress['eta_seconds'])}" if progress["eta_seconds"] is not None else ""
    if (running := progress.get("contender")) is not None:
        share = running["step"] / max(1, running["steps"])
        eta = f"ETA {duration(running['eta_seconds'])}" if running["eta_seconds"] is not None else ""
        row.add_row(
            ProgressBar(total=1, completed=share, width=max(10, width - 56)),
            f"{100 * share:3.0f} %",
            Text(f"comparing {running['contender']}"),
            f"step {running['step']}/{running['steps']}",
            Text(eta, style="bold"),
        )
        return row
    row.add_row(
        ProgressBar(total=total, completed=progress["step"], width=max(10, width - 56)),
        f"{100 * progress['step'] / total:3.0f} %",
        f"step {progress['step']}/{progress['total_steps']}",
        f"epoch {progress['epoch']:.2f}",
        Text(eta, style="bold"),
    )
    return row


def _numbers(view: JobView, width: int) -> Table:
    values = view.values
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    if doing := activity(view):
        table.add_row("waits" if view.job["status"] == "queued" else "now", Text(visible(doing)), "")
    if "loss" in values:
        table.add_row("loss", f"{values['loss']:.4f}", Text(sparkline(view.losses, width - 34), style="cyan"))
    if scores := evaluation(view.job, values):
        (name, best), *others = scores.items()
        beside = "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in others)
        if (before := view.before.get(f"eval_{name}")) is not None:
            beside = f"before training {before:.4f}  {beside}"
        table.add_row(
            Text(visible(f"eval {name.replace('_', ' ')}")), f"{best:.4f}", Text(visible(beside), style="dim")
        )
    if counts := asa_counts(view):
        left = values.get("trainable_parameters")
        beside = f"{round(left):,} trainable parameters" if left is not None else ""
        table.add_row("subspaces", counts, Text(beside, style="dim"))
    if "samples_per_second" in values:
        rate = f"learning rate {values['learning_rate']:.2e}" if "learning_rate" in values else ""
        table.add_row("speed", f"{values['samples_per_second']:.0f} rows/s", Text(rate, style="dim"))
    if not values:
        table.add_row("", "no metrics yet", "")
    return table


def evaluation(job: JobJson, values: dict[str, float]) -> dict[str, float]:
    """Return the evaluation's metrics; the one that the job's checkpoints are compared by comes first."""
    chosen = job.get("best_metric")
    names = [name.removeprefix("eval_") for name in values if name.startswith("eval_")]
    names.sort(key=lambda name: chosen is None or name != chosen["name"])
    return {name: values[f"eval_{name}"] for name in names}


def activity(view: JobView) -> str | None:
    """Say what a job does that has not ended: its phase while it runs, and why it waits while it is queued."""
    if view.job["status"] == "queued" and (place := view.job.get("queue")) is not None:
        return place["reason"]
    return PHASES.get(view.phase or "") if view.job["status"] == "running" else None


def sample_line(sample: SampleJson) -> str:
    """Format a prompt and what the model wrote after it in one line."""
    return " ".join(f"{sample['prompt']} → {sample['completion']}".split())


def _samples(samples: SamplesJson) -> Table:
    """Render the newest texts, one line each."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for place, sample in enumerate(samples["samples"][:MOST_SAMPLES]):
        title = f"at step {samples['step']}" if samples["step"] else "before training"
        table.add_row(title if place == 0 else "", Text(visible(sample_line(sample))))
    return table


def _legend() -> Text:
    from service.cli.subspace_map import PRUNED, SHADES

    text = Text("importance ", style="dim")
    for sign, colour in SHADES:
        text.append(sign * 2, style=colour)
    text.append("  pruned ", style="dim")
    text.append(PRUNED[0] * 2, style=PRUNED[1])
    return text
