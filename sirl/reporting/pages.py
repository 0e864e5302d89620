"""A template and its values -> a page: escaped, self-contained, writable as UTF-8."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

_HERE = Path(__file__).parent
STYLE = _HERE / "style.css"
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # legal in a reply, not in a page


def fill(template: str, **values: Any) -> str:
    """Return the page; `style`, the page's own sheet, is among the names that a template knows."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup(STYLE.read_text(encoding="utf-8"))
    page = environment.get_template(template).render(style=style, **values)
    return printable(page)


def printable(text: str) -> str:
    """Return a text with a mark in the place of what no page can hold."""
    return _UNPRINTABLE.sub("\ufffd", text)
