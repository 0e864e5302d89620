"""Write docs/results.md from what the cells of our studies measured: `python docs/make_results.py`.

The cells are in docs/measured/STUDY: every number is recomputed from them.
"""

from __future__ import annotations

from pathlib import Path

from sirl.cli.studies import known
from sirl.report.study_page import markdown

MEASURED = Path(__file__).with_name("measured")
STUDIES = ("study-method", "study-rewards", "study-long", "study-guards")
HEAD = """# Results

This page is written by `docs/make_results.py` from what the cells of each study measured, which is kept in
[measured](measured); do not edit it by hand. A study goes on there with `--out docs/measured/study-method`. The
models are toys of a make-believe world ([organism.md](organism.md)): the page shows that attacks and defence
work as built, and says nothing about any real model.

DSR is the share of harmful requests on which the attack failed; the exact oracle judges greedy replies. How
many prompts were asked is in `config.json` of a cell, n and the interval of each attack in its
`measured.jsonl`.
"""


def study_section(name: str) -> str:
    """Return the tables of a study, a level lower than on its own page."""
    lines = markdown(known(name, MEASURED / name)).splitlines()
    lower = [f"#{line}" if line.startswith("#") else line for line in lines[1:]]
    return "\n".join([f"\n## sirl study {name}", *lower]) + "\n"


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(study_section(name) for name in STUDIES if (MEASURED / name).is_dir())


if __name__ == "__main__":
    Path(__file__).with_name("results.md").write_text(page(), encoding="utf-8")
