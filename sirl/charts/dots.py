"""Shares as dots with whiskers, one row a thing measured."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sirl.charts.nouns import Caption, Dot, DotRow
from sirl.charts.svg import WIDTH, line_at, mark_at, safe_style, scale, svg, text_at


def dot_rows(caption: Caption, rows: Sequence[DotRow], styles: Sequence[str]) -> str:
    """Draw shares (0 to 1) as dots with whiskers: a row's label above, one lane a style below."""
    lane, head = 15.0, 20.0
    step = head + lane * len(styles) + 9
    bottom = step * len(rows)
    left, right = 9.0, WIDTH - 9.0
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = scale(share, (0, 1), (left, right))
        parts.append(line_at(x, 4, x, bottom, "grid"))
        if share in (0, 0.5, 1):
            anchor = {0: "start", 0.5: "middle", 1: "end"}[share]
            at = {0: x - 8, 0.5: x, 1: x + 8}[share]
            parts.append(text_at(at, bottom + 15, f"{share * 100:.0f} %", anchor, "muted"))
    for i, row in enumerate(rows):
        top = i * step
        mark = f'<tspan class="muted" dx="7">{escape(row.mark)}</tspan>' if row.mark else ""
        parts.append(_plate(top, head))
        parts.append(f'<text x="1" y="{top + 15:.1f}" class="label">{escape(row.label)}{mark}</text>')
        parts.append(text_at(WIDTH - 1, top + 15, row.text, "end", "figure"))
        for k, (style, dot) in enumerate(zip(styles, row.dots, strict=True)):
            parts.append(_dot(dot, top + head + lane * (k + 0.5), (left, right), style))
    return svg(caption, bottom + 21, parts)


def _plate(top: float, head: float) -> str:
    """Clear the grid behind a row's label."""
    return f'<rect x="0" y="{top:.1f}" width="{WIDTH}" height="{head:.1f}" class="plate"/>'


def _dot(dot: Dot, y: float, pixels: tuple[float, float], style: str) -> str:
    if dot.value is None:
        return text_at(pixels[0], y + 4, "not measured", "start", "muted")
    whisker = ""
    if dot.low is not None and dot.high is not None:
        a, b = scale(dot.low, (0, 1), pixels), scale(dot.high, (0, 1), pixels)
        whisker = line_at(a, y, b, y, "whisker")
    return f'<g class="{safe_style(style)}">{whisker}{mark_at(scale(dot.value, (0, 1), pixels), y, style)}</g>'
