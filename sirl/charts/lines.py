"""Lines: what was measured at one place after another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sirl.charts.nouns import Axis, Caption, Series
from sirl.charts.svg import (
    WIDTH,
    axis_ends,
    empty,
    figure_text,
    line_at,
    mark_at,
    rounded,
    safe_style,
    scale,
    svg,
    text_at,
    ticks,
)

_DASHES = {"before": " dashed", "complied": " dashed", "third": " dotted"}


def line_chart(caption: Caption, series: Sequence[Series], x_axis: Axis, y_axis: Axis) -> str:
    """Draw one or more lines, dashed or dotted by style; names stand above when there are several."""
    points = [(x, y) for s in series for x, y in zip(s.xs, s.ys, strict=True) if y is not None]
    if not points:
        return empty(caption)
    top, bottom, left, right = (30.0 if len(series) > 1 else 10.0), 160.0, 48.0, WIDTH - 10.0
    x_ends = axis_ends([x for x, _ in points], x_axis)
    y_ends = rounded(axis_ends([y for _, y in points], y_axis), y_axis)
    parts = []
    for tick in ticks(*y_ends):
        y = scale(tick, y_ends, (bottom, top))
        parts += [
            line_at(left, y, right, y, "grid"),
            text_at(left - 6, y + 4, figure_text(tick, y_axis.percent), "end", "muted"),
        ]
    for tick in ticks(*x_ends):
        x = scale(tick, x_ends, (left, right))
        parts.append(text_at(x, bottom + 16, figure_text(tick, x_axis.percent), "middle", "muted"))
    parts += [
        line_at(left, bottom, right, bottom, "axis"),
        text_at((left + right) / 2, bottom + 33, x_axis.label, "middle", "muted"),
    ]
    parts += [_band(s, (x_ends, y_ends), (left, right, bottom, top)) for s in series]
    parts += [_curve(s, (x_ends, y_ends), (left, right, bottom, top)) for s in series]
    if len(series) > 1:
        parts += _legend(series, left)
    return svg(caption, bottom + 40, parts)


def _curve(
    series: Series,
    ends: tuple[tuple[float, float], tuple[float, float]],
    box: tuple[float, float, float, float],
) -> str:
    left, right, bottom, top = box
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(series.xs, series.ys, strict=True):
        if y is not None:
            pieces[-1].append((scale(x, ends[0], (left, right)), scale(y, ends[1], (bottom, top))))
        elif not series.joined and pieces[-1]:
            pieces.append([])
    paths = ["M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in piece) for piece in pieces if len(piece) > 1]
    dots = [p for piece in pieces for p in piece]
    short = len(dots) <= 12 and series.marked
    few = dots if short else [p for piece in pieces if len(piece) == 1 for p in piece]
    marks = "".join(mark_at(x, y, series.style) for x, y in few)
    dash = _DASHES.get(series.style, "")
    return f'<g class="{safe_style(series.style)}"><path class="curve{dash}" d="{"".join(paths)}"/>{marks}</g>'


def _band(
    series: Series,
    ends: tuple[tuple[float, float], tuple[float, float]],
    box: tuple[float, float, float, float],
) -> str:
    """Tint what lies between the ends of the interval; nothing where there is none."""
    if series.band is None:
        return ""
    left, right, bottom, top = box
    rows = [row for row in zip(series.xs, *series.band, strict=True) if None not in row]
    upper = [(x, high) for x, _, high in rows if high is not None]
    lower = [(x, low) for x, low, _ in reversed(rows) if low is not None]
    corners = " ".join(
        f"{scale(x, ends[0], (left, right)):.1f},{scale(y, ends[1], (bottom, top)):.1f}"
        for x, y in (*upper, *lower)
    )
    return f'<polygon class="band {safe_style(series.style)}" points="{corners}"/>' if rows else ""


def _legend(series: Sequence[Series], left: float) -> Iterable[str]:
    at = left
    for s in series:
        dash = _DASHES.get(s.style, "")
        yield f'<g class="{safe_style(s.style)}"><path class="curve{dash}" d="M{at:.1f} 11h26"/></g>'
        yield text_at(at + 32, 15, s.name, "start", "label")
        at += 50 + 7.0 * len(s.name)
