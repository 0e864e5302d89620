"""Numbers -> inline SVG: a histogram of two groups, dots with whiskers, lines. No script, no library.

Every chart is 380 units wide, readable from a phone up, and meant for a CSS grid that adds columns as the
screen widens. Colours are `currentColor` under a class (`before`, `after`, `complied`, `refused`, `one`) so
that the page decides them for light and dark; shape, dash or side says the same without colour. Text is
escaped; each chart is one image with a title and a description. Knows numbers and labels, not records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 380
_TEXT = 12.5  # units; at 380 pixels a unit is a pixel
_SAFE_STYLES = frozenset({"before", "after", "complied", "refused", "one"})


@dataclass(frozen=True, slots=True)
class Caption:
    """What a chart shows, for those who cannot see it: a title and a sentence with its main numbers."""

    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Dot:
    """An estimate with its 95 % interval, on the axis' own scale; None is not measured."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class DotRow:
    """A label over one dot a style; `text` repeats the figures at the right, `mark` follows the label."""

    label: str
    text: str
    dots: tuple[Dot, ...]
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of values and the style to draw it in."""

    name: str
    style: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Series:
    """A named line; a None in `ys` leaves a gap in it, unless `joined` draws through the missing points."""

    name: str
    style: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """A label and, when given, the ends of the scale; `percent` prints fractions as percent."""

    label: str
    percent: bool = False
    low: float | None = None
    high: float | None = None


def dot_rows(caption: Caption, rows: Sequence[DotRow], styles: Sequence[str]) -> str:
    """Draw shares (0 to 1) as dots with whiskers: a row's label above, one lane a style below."""
    lane, head = 15.0, 20.0
    step = head + lane * len(styles) + 9
    bottom = step * len(rows)
    left, right = 9.0, WIDTH - 9.0
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = _scale(share, (0, 1), (left, right))
        parts.append(_line(x, 4, x, bottom, "grid"))
        if share in (0, 0.5, 1):
            anchor = {0: "start", 0.5: "middle", 1: "end"}[share]
            at = {0: x - 8, 0.5: x, 1: x + 8}[share]
            parts.append(_text(at, bottom + 15, f"{share * 100:.0f} %", anchor, "muted"))
    for i, row in enumerate(rows):
        top = i * step
        mark = f'<tspan class="muted" dx="7">{escape(row.mark)}</tspan>' if row.mark else ""
        parts.append(_plate(top, head))
        parts.append(f'<text x="1" y="{top + 15:.1f}" class="label">{escape(row.label)}{mark}</text>')
        parts.append(_text(WIDTH - 1, top + 15, row.text, "end", "figure"))
        for k, (style, dot) in enumerate(zip(styles, row.dots, strict=True)):
            parts.append(_dot(dot, top + head + lane * (k + 0.5), (left, right), style))
    return _svg(caption, bottom + 21, parts)


def histogram(caption: Caption, upper: Group, lower: Group, axis: Axis) -> str:
    """Draw two groups back to back, one above and one below the axis, as shares of their group."""
    left, right, height, middle = 9.0, WIDTH - 9.0, 84.0, 108.0
    both = [*upper.values, *lower.values]
    if not both:
        return _empty(caption)
    ends = (min(0.0, *both), _nice_above(max(both)))
    bins = 28
    shares = [_shares(group.values, ends, bins) for group in (upper, lower)]
    tallest = max(max(share) for share in shares) or 1.0
    width = (right - left) / bins
    parts = [_line(left, middle, right, middle, "axis")]
    for group, share, side in ((upper, shares[0], -1), (lower, shares[1], 1)):
        bars = []
        for i, part in enumerate(share):
            tall = height * part / tallest
            y = middle - tall if side < 0 else middle
            if part:
                bars.append(
                    f'<rect x="{left + i * width + 0.5:.1f}" y="{y:.1f}" width="{width - 1:.1f}" '
                    f'height="{max(tall, 0.8):.1f}" rx="1"/>'
                )
        parts.append(f'<g class="{_style(group.style)}" fill="currentColor">{"".join(bars)}</g>')
        parts.append(_mean_mark(group, ends, (left, right), (middle, middle + side * (height + 6))))
        at = middle + side * (height + 12) + (10 if side > 0 else 0)
        parts.append(_text(right, at, _told(group), "end", _style(group.style)))
    below = middle + height + 36
    parts += [_line(left, below - 9, right, below - 9, "grid")]
    for tick in ticks(*ends):
        x = _scale(tick, ends, (left, right))
        parts += [
            _line(x, below - 12, x, below - 6, "axis"),
            _text(x, below + 7, _number(tick, axis.percent), "middle", "muted"),
        ]
    parts.append(_text(WIDTH / 2, below + 25, axis.label, "middle", "muted"))
    return _svg(caption, below + 32, parts)


def line_chart(caption: Caption, series: Sequence[Series], x_axis: Axis, y_axis: Axis) -> str:
    """Draw one or more lines; the second style is dashed, names stand above when there are several."""
    points = [(x, y) for s in series for x, y in zip(s.xs, s.ys, strict=True) if y is not None]
    if not points:
        return _empty(caption)
    top, bottom, left, right = (30.0 if len(series) > 1 else 10.0), 160.0, 48.0, WIDTH - 10.0
    x_ends = _ends([x for x, _ in points], x_axis)
    y_ends = _rounded(_ends([y for _, y in points], y_axis), y_axis)
    parts = []
    for tick in ticks(*y_ends):
        y = _scale(tick, y_ends, (bottom, top))
        parts += [
            _line(left, y, right, y, "grid"),
            _text(left - 6, y + 4, _number(tick, y_axis.percent), "end", "muted"),
        ]
    for tick in ticks(*x_ends):
        x = _scale(tick, x_ends, (left, right))
        parts.append(_text(x, bottom + 16, _number(tick, x_axis.percent), "middle", "muted"))
    parts += [
        _line(left, bottom, right, bottom, "axis"),
        _text((left + right) / 2, bottom + 33, x_axis.label, "middle", "muted"),
    ]
    parts += [_curve(s, (x_ends, y_ends), (left, right, bottom, top)) for s in series]
    if len(series) > 1:
        parts += _legend(series, left)
    return _svg(caption, bottom + 40, parts)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers from low to high, about `about` of them."""
    span = high - low
    if not span > 0:
        return [low]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _shares(values: Sequence[float], ends: tuple[float, float], bins: int) -> list[float]:
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - ends[0]) / (ends[1] - ends[0]) * bins))] += 1
    return [count / len(values) if values else 0.0 for count in counts]


def _nice_above(value: float) -> float:
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * m for m in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if power * m >= value)


def _ends(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    low = min(values) if axis.low is None else axis.low
    high = max(values) if axis.high is None else axis.high
    if high - low > 1e-9:
        return low, high
    around = abs(low) * 0.1 or 1.0  # a constant line runs through the middle
    return low - around, high + around


def _rounded(ends: tuple[float, float], axis: Axis) -> tuple[float, float]:
    """Widen the ends that the axis leaves open to the next tick."""
    marks = ticks(*ends)
    step = marks[1] - marks[0] if len(marks) > 1 else 0.0
    low = ends[0] if axis.low is not None or marks[0] - ends[0] < step * 1e-6 else marks[0] - step
    high = ends[1] if axis.high is not None or ends[1] - marks[-1] < step * 1e-6 else marks[-1] + step
    return low, high


def _scale(value: float, ends: tuple[float, float], pixels: tuple[float, float]) -> float:
    part = (value - ends[0]) / (ends[1] - ends[0])
    return pixels[0] + min(1.0, max(0.0, part)) * (pixels[1] - pixels[0])


def _number(value: float, percent: bool = False) -> str:
    shown = f"{value * 100:.4g} %" if percent else f"{value:.4g}"
    return shown.replace("-", "−")


def _style(style: str) -> str:
    if style not in _SAFE_STYLES:
        raise ValueError(f"style {style!r}: one of {sorted(_SAFE_STYLES)}")
    return style


def _mark(x: float, y: float, style: str) -> str:
    """Return the style's own shape: before and complied are rings, the others are filled diamonds."""
    if style in ("before", "complied"):
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.6" class="ring"/>'
    return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z" fill="currentColor"/>'


def _dot(dot: Dot, y: float, pixels: tuple[float, float], style: str) -> str:
    if dot.value is None:
        return _text(pixels[0], y + 4, "not measured", "start", "muted")
    whisker = ""
    if dot.low is not None and dot.high is not None:
        a, b = _scale(dot.low, (0, 1), pixels), _scale(dot.high, (0, 1), pixels)
        whisker = _line(a, y, b, y, "whisker")
    return f'<g class="{_style(style)}">{whisker}{_mark(_scale(dot.value, (0, 1), pixels), y, style)}</g>'


def _told(group: Group) -> str:
    mean = f", mean {math.fsum(group.values) / len(group.values):.2f}" if group.values else ""
    return f"{group.name}, n = {len(group.values)}{mean}"


def _mean_mark(
    group: Group, ends: tuple[float, float], pixels: tuple[float, float], span: tuple[float, float]
) -> str:
    if not group.values:
        return ""
    x = _scale(math.fsum(group.values) / len(group.values), ends, pixels)
    return _line(x, span[0], x, span[1], "mean")


def _curve(
    series: Series,
    ends: tuple[tuple[float, float], tuple[float, float]],
    box: tuple[float, float, float, float],
) -> str:
    left, right, bottom, top = box
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(series.xs, series.ys, strict=True):
        if y is not None:
            pieces[-1].append((_scale(x, ends[0], (left, right)), _scale(y, ends[1], (bottom, top))))
        elif not series.joined and pieces[-1]:
            pieces.append([])
    paths = ["M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in piece) for piece in pieces if len(piece) > 1]
    dots = [p for piece in pieces for p in piece]
    few = dots if len(dots) <= 12 else [p for piece in pieces if len(piece) == 1 for p in piece]
    marks = "".join(_mark(x, y, series.style) for x, y in few)
    dash = " dashed" if series.style in ("before", "complied") else ""
    return f'<g class="{_style(series.style)}"><path class="curve{dash}" d="{"".join(paths)}"/>{marks}</g>'


def _legend(series: Sequence[Series], left: float) -> Iterable[str]:
    at = left
    for s in series:
        dash = " dashed" if s.style in ("before", "complied") else ""
        yield f'<g class="{_style(s.style)}"><path class="curve{dash}" d="M{at:.1f} 11h26"/></g>'
        yield _text(at + 32, 15, s.name, "start", "label")
        at += 50 + 7.0 * len(s.name)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _plate(top: float, head: float) -> str:
    """Clear the grid behind a row's label."""
    return f'<rect x="0" y="{top:.1f}" width="{WIDTH}" height="{head:.1f}" class="plate"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _empty(caption: Caption) -> str:
    return _svg(caption, 40, [_text(WIDTH / 2, 24, "not measured", "middle", "muted")])


def _svg(caption: Caption, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {height:.0f}" font-size="{_TEXT}">'
        f"<title>{escape(caption.title)}</title><desc>{escape(caption.description)}</desc>"
        f"{''.join(parts)}</svg>"
    )
