"""Drawings hold the numbers they were given, escape their words, and survive empty or constant input."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl import charts
from sirl.charts import Axis, Caption, Dot, DotRow, Group, Series

CAPTION = Caption("A <title>", 'with "quotes" & more')
X, Y = Axis("step"), Axis("nats")


def parse(svg):
    root = ET.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["viewBox"].startswith("0 0 380 ")
    assert (root[0].tag, root[1].tag) == ("title", "desc")
    assert (root[0].text, root[1].text) == (CAPTION.title, CAPTION.description)
    return root


def texts(root):
    return ["".join(t.itertext()) for t in root.iter("text")]


def test_dots_lie_where_their_share_is():
    row = DotRow("aim <b>", "40 → 90", (Dot(0.0, 0.0, 0.1), Dot(1.0, 0.5, 1.0)), "seen")
    root = parse(charts.dot_rows(CAPTION, [row], ["before", "after"]))
    assert root.find(".//circle").attrib["cx"] == "9.0"
    assert root.find(".//g[@class='after']/path").attrib["d"].startswith("M371.0 ")
    whisker = root.find(".//g[@class='after']/line").attrib
    assert (whisker["x1"], whisker["x2"]) == ("190.0", "371.0")
    assert "aim <b>seen" in texts(root)


def test_a_missing_share_is_said_not_drawn():
    root = parse(charts.dot_rows(CAPTION, [DotRow("a", "–", (Dot(None),))], ["one"]))
    assert "not measured" in texts(root)
    assert root.find(".//circle") is None


def test_a_share_without_interval_has_no_whisker():
    root = parse(charts.dot_rows(CAPTION, [DotRow("a", "5", (Dot(0.5),))], ["one"]))
    assert root.find(".//line[@class='whisker']") is None


def test_an_unknown_style_is_a_bug():
    with pytest.raises(ValueError, match="style"):
        charts.dot_rows(CAPTION, [DotRow("a", "5", (Dot(0.5),))], ['"><script>'])


def test_histogram_bars_are_shares_of_their_own_group():
    upper, lower = Group("refused", "refused", [0.1] * 10), Group("complied", "complied", [0.9, 0.9])
    root = parse(charts.histogram(CAPTION, upper, lower, Axis("nats")))
    bars = root.findall(".//rect")
    assert [bar.attrib["height"] for bar in bars] == ["84.0", "84.0"]  # each group sits in one bin
    assert float(bars[0].attrib["y"]) < float(bars[1].attrib["y"])  # refused above, complied below
    assert {"refused, n = 10, mean 0.10", "complied, n = 2, mean 0.90"} <= set(texts(root))


def test_histogram_of_one_group_or_none():
    one = charts.histogram(CAPTION, Group("a", "refused", []), Group("b", "complied", [0.0]), X)
    assert "a, n = 0" in texts(parse(one))
    none = charts.histogram(CAPTION, Group("a", "refused", []), Group("b", "complied", []), X)
    assert texts(parse(none)) == ["not measured"]


def test_a_line_breaks_where_nothing_was_measured():
    gapped = Series("a", "one", [1, 2, 3, 4, 5], [1, 2, None, 4, 5])
    assert (
        parse(charts.line_chart(CAPTION, [gapped], X, Y)).find(".//path[@class='curve']").attrib["d"].count("M")
        == 2
    )
    joined = Series("a", "one", [1, 2, 3, 4, 5], [1, 2, None, 4, 5], joined=True)
    assert (
        parse(charts.line_chart(CAPTION, [joined], X, Y)).find(".//path[@class='curve']").attrib["d"].count("M")
        == 1
    )


def test_two_lines_differ_in_dash_and_have_names():
    root = parse(
        charts.line_chart(
            CAPTION,
            [Series("refused", "refused", [1, 2], [1, 2]), Series("complied", "complied", [1, 2], [3, 4])],
            X,
            Y,
        )
    )
    assert {"refused", "complied"} <= set(texts(root))
    assert root.findall(".//g[@class='complied']/path[@class='curve dashed']")
    assert not root.findall(".//g[@class='refused']/path[@class='curve dashed']")


def test_lines_of_nothing_or_of_one_value():
    assert texts(parse(charts.line_chart(CAPTION, [Series("a", "one", [1], [None])], X, Y))) == ["not measured"]
    assert parse(charts.line_chart(CAPTION, [Series("a", "one", [1, 2], [3, 3])], X, Y)) is not None
    assert (
        parse(charts.line_chart(CAPTION, [Series("a", "one", [0], [0])], X, Axis("", percent=True))) is not None
    )


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low, span):
    found = charts.ticks(low, low + span)
    assert len(found) <= 6
    assert found == sorted(found)
    assert all(low - 1e-6 * (span + abs(low)) <= t <= low + span + 1e-6 * (span + abs(low)) for t in found)
    assert charts.ticks(1, 1) == [1]


def test_ticks_by_hand():
    assert charts.ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1]
    assert charts.ticks(-0.6, 0.1) == [-0.6, -0.4, -0.2, 0.0]


def test_a_band_is_the_interval_of_a_line():
    band = ([0.5, None, 0.2], [1.0, None, 0.6])
    series = Series("a", "one", [0, 1, 2], [0.8, 0.6, 0.4], band=band, marked=False)
    drawn = charts.line_chart(Caption("t", "d"), [series], Axis("x"), Axis("", True, 0.0, 1.0))
    ET.fromstring(drawn)
    points = drawn.split('points="')[1].split('"')[0].split()
    assert len(points) == 4  # there and back, without the place that has no interval
    assert points[0].endswith(",10.0")  # 100 % is at the top
    assert "ring" not in drawn
    assert "L" in drawn
    bare = charts.line_chart(Caption("t", "d"), [Series("a", "one", [0, 1], [1, 2])], Axis("x"), Axis(""))
    assert "polygon" not in bare


def test_a_third_line_differs_in_dash_and_shape():
    lines = [Series(style, style, [0, 1], [0.2, 0.4]) for style in ("after", "before", "third")]
    root = parse(charts.line_chart(CAPTION, lines, X, Y))
    dashes = {g.attrib["class"]: g.find("path").attrib["class"] for g in root.findall("g")}
    assert dashes == {"after": "curve", "before": "curve dashed", "third": "curve dotted"}
    assert len(root.findall(".//g[@class='third']/rect")) == 2
