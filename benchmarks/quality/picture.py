"""A picture of the tables: published elements against the difference to LoRA of rank 1, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.quality.contenders import CONTENDERS
from benchmarks.quality.tables import REFERENCE, Line

WIDTH, HEIGHT, MARGIN, GAP = 320, 260, 46, 26
COLUMNS, LINE = 3, HEIGHT + 40
SHARES, GAINS = (0.25, 1.25), (-4.5, 2.5)  # what is shown; others are in the tables
COLOURS = {"LoRA": "#b45309", "weights": "#64748b", "inputs": "#047857", "gradient": "#1d4ed8", "control": "#a21caf"}


def draw(panels: Sequence[tuple[str, Sequence[Line]]]) -> str:
    """Return one panel for each task, (title, lines)."""
    width = min(len(panels), COLUMNS) * (WIDTH + GAP) + GAP
    height = -(-len(panels) // COLUMNS) * LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 30}" font-family="sans-serif" '
        'font-size="11"><rect width="100%" height="100%" fill="white"/>'
    ]
    for place, (title, lines) in enumerate(panels):
        row, column = divmod(place, COLUMNS)
        corner = f"{GAP + column * (WIDTH + GAP)} {24 + row * LINE}"
        parts.append(f'<g transform="translate({corner})">{_panel(title, lines)}</g>')
    parts.append(f'<g transform="translate({GAP} {height + 16})">{_legend()}</g></svg>\n')
    return "\n".join(parts)


def _panel(title: str, lines: Sequence[Line]) -> str:
    parts = [f'<text y="-8" font-weight="bold">{escape(title)}</text>']
    for gain in range(-4, 3):
        dash = "" if gain == 0 else ' stroke-dasharray="2 4"'
        parts.append(f'<path d="M{MARGIN} {_y(gain)}H{WIDTH}" stroke="#94a3b8"{dash}/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{_y(gain) + 4}" text-anchor="end">{gain:+d}</text>')
    for share in (0.33, 0.5, 0.67, 1.0):
        parts.append(f'<text x="{_x(share)}" y="{HEIGHT - 4}" text-anchor="middle">{share:.0%}</text>')
    for line in lines:
        shown = line.gain is not None and SHARES[0] <= line.share <= SHARES[1] and line.gain[0] >= GAINS[0]
        if shown or line.contender == REFERENCE:
            parts.append(_point(line))
    return "".join(parts)


def _point(line: Line) -> str:
    colour = COLOURS.get(CONTENDERS[line.contender].family, "#0f172a")
    x, (gain, low, high) = _x(line.share), line.gain or (0.0, 0.0, 0.0)
    name = escape(f"{line.contender}: {gain:+.2f} ({low:+.2f} to {high:+.2f})")
    bar = f'<path d="M{x} {_y(max(low, GAINS[0]))}V{_y(min(high, GAINS[1]))}" stroke="{colour}" opacity="0.25"/>'
    return f'{bar}<circle cx="{x}" cy="{_y(gain)}" r="4" fill="{colour}"><title>{name}</title></circle>'


def _legend() -> str:
    entries = [
        f'<circle cx="{place * 90}" cy="-4" r="4" fill="{colour}"/><text x="{place * 90 + 9}">{name}</text>'
        for place, (name, colour) in enumerate(COLOURS.items())
    ]
    return "".join(entries)


def _x(share: float) -> float:
    return round(MARGIN + (share - SHARES[0]) / (SHARES[1] - SHARES[0]) * (WIDTH - MARGIN), 1)


def _y(gain: float) -> float:
    return round((GAINS[1] - gain) / (GAINS[1] - GAINS[0]) * (HEIGHT - 24), 1)
