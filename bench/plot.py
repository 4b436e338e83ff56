"""Ratios and their goals as a picture: one bar for each goal that is about another contender."""

import math
from html import escape
from pathlib import Path

from bench.rounds import Row, number

LEFT, WIDTH, LINE = 430, 420, 20
MET, MISSED = "#2a7", "#c54"


def plot(rows: list[Row], file: Path) -> bool:
    """Writes an SVG, on a logarithmic scale around 1; false when there is no ratio to show."""
    bars = [
        (f"{row.measurement}: {verdict.goal}", verdict.figure, bool(verdict.met))
        for row in rows
        for verdict in row.verdicts
        if verdict.figure and " of " in verdict.goal
    ]
    if not bars:
        return False
    reach = max(0.5, *(abs(math.log(figure)) for _, figure, _ in bars))
    middle, unit = LEFT + WIDTH / 2, WIDTH / 2 / reach
    height = LINE * (len(bars) + 1)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 70}" height="{height}" '
            'font-family="sans-serif" font-size="12">'
        ),
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for at, (label, figure, met) in enumerate(bars):
        y = LINE * at + LINE / 2
        length = math.log(figure) * unit
        x = min(middle, middle + length)
        colour = MET if met else MISSED
        parts.append(f'<text x="4" y="{y + 12}">{escape(label)}</text>')
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{abs(length):.1f}" height="14" fill="{colour}"/>'
        )
        parts.append(f'<text x="{LEFT + WIDTH + 6}" y="{y + 12}">{number(figure)}</text>')
    parts.append(f'<path d="M{middle} 4V{height - 4}" stroke="black"/></svg>')
    file.write_text("\n".join(parts) + "\n")
    return True
