"""Numbers -> inline SVG: a histogram of two groups, dots with whiskers, lines. No script, no library.

Every chart is 380 units wide, readable from a phone up, and meant for a CSS grid that adds columns as the
screen widens. Colours are `currentColor` under a class (`before`, `after`, `complied`, `refused`, `one`,
`third`) so that the page decides them for light and dark; shape, dash or side says the same without colour.
Text is escaped; each chart is one image with a title and a description. Knows numbers and labels, not records.
"""

from sirl.charts.dots import dot_rows
from sirl.charts.histograms import histogram
from sirl.charts.lines import line_chart
from sirl.charts.nouns import Axis, Caption, Dot, DotRow, Group, Series
from sirl.charts.svg import WIDTH, ticks

__all__ = [
    "WIDTH",
    "Axis",
    "Caption",
    "Dot",
    "DotRow",
    "Group",
    "Series",
    "dot_rows",
    "histogram",
    "line_chart",
    "ticks",
]
