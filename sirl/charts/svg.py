"""SVG: scales, ticks, marks and text. Text is escaped; a style is one of the page's classes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from sirl.charts.nouns import Axis, Caption

WIDTH = 380
_TEXT = 12.5  # units; at 380 pixels a unit is a pixel
_SAFE_STYLES = frozenset({"before", "after", "complied", "refused", "one", "third"})


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


def axis_ends(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    """Return the ends of a scale: those the axis gives, else those of the values."""
    low = min(values) if axis.low is None else axis.low
    high = max(values) if axis.high is None else axis.high
    if high - low > 1e-9:
        return low, high
    around = abs(low) * 0.1 or 1.0  # a constant line runs through the middle
    return low - around, high + around


def rounded(ends: tuple[float, float], axis: Axis) -> tuple[float, float]:
    """Widen the ends that the axis leaves open to the next tick."""
    marks = ticks(*ends)
    step = marks[1] - marks[0] if len(marks) > 1 else 0.0
    low = ends[0] if axis.low is not None or marks[0] - ends[0] < step * 1e-6 else marks[0] - step
    high = ends[1] if axis.high is not None or ends[1] - marks[-1] < step * 1e-6 else marks[-1] + step
    return low, high


def scale(value: float, ends: tuple[float, float], pixels: tuple[float, float]) -> float:
    """Return where a value lies in pixels; beyond the ends it stays at them."""
    part = (value - ends[0]) / (ends[1] - ends[0])
    return pixels[0] + min(1.0, max(0.0, part)) * (pixels[1] - pixels[0])


def figure_text(value: float, percent: bool = False) -> str:
    """Write a number as an axis shows it."""
    shown = f"{value * 100:.4g} %" if percent else f"{value:.4g}"
    return shown.replace("-", "−")


def safe_style(style: str) -> str:
    """Return the style if the page knows it. Raises ValueError."""
    if style not in _SAFE_STYLES:
        raise ValueError(f"style {style!r}: one of {sorted(_SAFE_STYLES)}")
    return style


def mark_at(x: float, y: float, style: str) -> str:
    """Return the style's own shape: before and complied are rings, third a square, the others diamonds."""
    if style in ("before", "complied"):
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.6" class="ring"/>'
    if style == "third":
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="currentColor"/>'
    return f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6-6z" fill="currentColor"/>'


def line_at(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Draw a straight line of a class."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def text_at(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    """Write text of a class; it is escaped here."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def empty(caption: Caption) -> str:
    """Return a chart that says that nothing was measured."""
    return svg(caption, 40, [text_at(WIDTH / 2, 24, "not measured", "middle", "muted")])


def svg(caption: Caption, height: float, parts: Iterable[str]) -> str:
    """Return the parts as one image with title and description."""
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {height:.0f}" font-size="{_TEXT}">'
        f"<title>{escape(caption.title)}</title><desc>{escape(caption.description)}</desc>"
        f"{''.join(parts)}</svg>"
    )
