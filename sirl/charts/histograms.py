"""Two groups of values back to back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sirl.charts.nouns import Axis, Caption, Group
from sirl.charts.svg import WIDTH, empty, figure_text, line_at, safe_style, scale, svg, text_at, ticks


def histogram(caption: Caption, upper: Group, lower: Group, axis: Axis) -> str:
    """Draw two groups back to back, one above and one below the axis, as shares of their group."""
    left, right, height, middle = 9.0, WIDTH - 9.0, 84.0, 108.0
    both = [*upper.values, *lower.values]
    if not both:
        return empty(caption)
    ends = (min(0.0, *both), _nice_above(max(both)))
    bins = 28
    shares = [_shares(group.values, ends, bins) for group in (upper, lower)]
    tallest = max(max(share) for share in shares) or 1.0
    width = (right - left) / bins
    parts = [line_at(left, middle, right, middle, "axis")]
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
        parts.append(f'<g class="{safe_style(group.style)}" fill="currentColor">{"".join(bars)}</g>')
        parts.append(_mean_mark(group, ends, (left, right), (middle, middle + side * (height + 6))))
        at = middle + side * (height + 12) + (10 if side > 0 else 0)
        parts.append(text_at(right, at, _told(group), "end", safe_style(group.style)))
    below = middle + height + 36
    parts += [line_at(left, below - 9, right, below - 9, "grid")]
    for tick in ticks(*ends):
        x = scale(tick, ends, (left, right))
        parts += [
            line_at(x, below - 12, x, below - 6, "axis"),
            text_at(x, below + 7, figure_text(tick, axis.percent), "middle", "muted"),
        ]
    parts.append(text_at(WIDTH / 2, below + 25, axis.label, "middle", "muted"))
    return svg(caption, below + 32, parts)


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


def _told(group: Group) -> str:
    mean = f", mean {math.fsum(group.values) / len(group.values):.2f}" if group.values else ""
    return f"{group.name}, n = {len(group.values)}{mean}"


def _mean_mark(
    group: Group, ends: tuple[float, float], pixels: tuple[float, float], span: tuple[float, float]
) -> str:
    if not group.values:
        return ""
    x = scale(math.fsum(group.values) / len(group.values), ends, pixels)
    return line_at(x, span[0], x, span[1], "mean")
