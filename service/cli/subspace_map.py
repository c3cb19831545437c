"""Terminal map of subspaces: a row per layer, a cell per subspace, brighter with importance."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from adamss_core.visible import visible
from service.client.types import SubspaceJson, SubspaceMapJson

# Shade and colour encode the same value, so that the map is readable without colours.
SHADES = (("░", "#2f6f8f"), ("▒", "#2b9c93"), ("▓", "#7cc46a"), ("█", "#f4e04d"))
PRUNED = ("·", "bright_black")
LAYER = re.compile(r"^(?P<before>.*?)\.(?P<layer>\d+)\.(?P<kind>.+)$")
NARROWEST = 3


def subspace_map(summary: SubspaceMapJson, width: int, height: int) -> Table:
    """Render the map as a table.

    Args:
        width: maximum width in columns of the terminal.
        height: maximum number of rows; the middle layers of a deep model are left out.
    """
    modules = summary["modules"]
    grid = arrange(list(modules))
    kinds = list(dict.fromkeys(kind for _, kind, _ in grid))
    layers = list(dict.fromkeys(layer for layer, _, _ in grid))
    cell = {(layer, kind): modules[name] for layer, kind, name in grid}
    low, high = importance_range(summary)
    label = max(map(len, layers), default=0)
    room = max(NARROWEST, (width - label) // max(1, len(kinds)) - 2)

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", justify="right", style="dim")
    for kind in kinds:
        table.add_column(Text(visible(kind)[-max(room, 2 * NARROWEST) :]), no_wrap=True)
    for layer in shorten(layers, height):
        if layer is None:
            table.add_row("…")
            continue
        table.add_row(Text(layer), *(cells(cell.get((layer, kind), []), room, low, high) for kind in kinds))
    return table


def arrange(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Split each module's name into (layer, kind, name): `encoder.layer.3.attention.query` is a query of layer 3."""
    parts = []
    for name in names:
        match = LAYER.match(name)
        parts.append((match["layer"], match["kind"], name) if match else ("", name, name))
    short = {kind: kind.rsplit(".", 1)[-1] for _, kind, _ in parts}
    if len(set(short.values())) < len(short):  # attention.output.dense and output.dense
        short = {kind: kind for kind in short}
    return [(layer, short[kind], name) for layer, kind, name in parts]


def cells(subspaces: Sequence[SubspaceJson], room: int, low: float, high: float) -> Text:
    """Render one module's subspaces in at most `room` columns; a shared cell shows its most important subspace."""
    text = Text()
    if not subspaces:
        return text
    each = math.ceil(len(subspaces) / room)
    wide = 2 if 2 * len(subspaces) <= room else 1
    for start in range(0, len(subspaces), each):
        active = [s["importance"] for s in subspaces[start : start + each] if s["active"]]
        sign, colour = shade(max(i or 0.0 for i in active), low, high) if active else PRUNED
        text.append(sign * wide, style=colour)
    return text


def shade(importance: float, low: float, high: float) -> tuple[str, str]:
    """Choose a shade by the importance's logarithm: the scores of one run span several powers of ten."""
    if importance <= 0 or high <= low:
        return SHADES[0] if importance <= 0 else SHADES[-1]
    share = (math.log(importance) - math.log(low)) / (math.log(high) - math.log(low))
    return SHADES[min(len(SHADES) - 1, max(0, int(share * len(SHADES))))]


def importance_range(summary: SubspaceMapJson) -> tuple[float, float]:
    """Return the 5 % and 95 % quantiles of the scores, so that one outlier does not darken the rest."""
    scores = sorted(
        s["importance"] for group in summary["modules"].values() for s in group if s["active"] and s["importance"]
    )
    if not scores:
        return 0.0, 0.0
    return scores[len(scores) // 20], scores[-1 - len(scores) // 20]


def shorten(layers: Sequence[str], height: int) -> list[str | None]:
    """Keep the first and last layers, at most `height` rows, with None in place of the layers between."""
    if len(layers) <= max(3, height):
        return list(layers)
    top = max(1, (height - 1) // 2)
    return [*layers[:top], None, *layers[-max(1, height - 1 - top) :]]
