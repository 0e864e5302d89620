"""What a chart is made of: captions, axes, and the numbers that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
    """A named line; a None in `ys` leaves a gap in it, unless `joined` draws through the missing points.

    `band` are the low and the high ends of an interval at each point, drawn as a tint; `marked` puts the
    style's shape on the points of a short line.
    """

    name: str
    style: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    joined: bool = False
    band: tuple[Sequence[float | None], Sequence[float | None]] | None = None
    marked: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """A label and, when given, the ends of the scale; `percent` prints fractions as percent."""

    label: str
    percent: bool = False
    low: float | None = None
    high: float | None = None
