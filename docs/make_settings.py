"""Write docs/settings.md and docs/recipe.schema.json from the settings: `python docs/make_settings.py`."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

from sirl.config import Recipe
from sirl.config.described import Setting, described, schema, shown
from sirl.config.sections import kinds_of

HEAD = """# Settings

This page is written by `docs/make_settings.py`; do not edit it by hand. Every setting has a default. A recipe, which is a TOML file,
changes some of them, and may lie over another recipe (`base`); `--set` changes one on the command line and `settings=` from Python. A
table lies over that of the base setting by setting.

```toml
base = "default"

[train]
steps = 60

[train.gate]
samples = 8
```

```console
sirl train MODEL --recipe mine.toml --set train.gate.samples=16 --out runs/train
sirl config show organism:llama --recipe organism-demo --set train.gate.samples=16
sirl config schema
```

`sirl config show` prints every setting with its value and where that comes from: a default, which recipe, `--set`, or the model. With
the schema an editor completes and checks recipes (Even Better TOML, Taplo): save it beside the file and begin that with `#:schema ./recipe.schema.json`. That of
this version is [recipe.schema.json](recipe.schema.json).

Defaults are those of the recipe `paper`, the published method (arXiv 2510.01088); what `sirl` takes for a model of your own is the recipe
`default`: [method.md](method.md#recipes) says where they differ, and why. A setting that the chosen method does not read is an error.
An unknown setting and a value out of range are errors too, which name the nearest setting or the range.
"""


def section_of(setting: Setting) -> str:
    """Return the table that a setting stands in."""
    return setting.name.rpartition(".")[0]


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(table(name, list(rows)) for name, rows in groupby(described("paper"), section_of))


def table(name: str, rows: list[Setting]) -> str:
    """Return a section of the page; of [train] it says which methods read each setting."""
    section, training = Recipe, name.startswith("train")
    for key in name.split("."):
        section = kinds_of(section)[key]
    heads = ["setting", "default", "takes", "what it does", *(["read by"] * training)]
    lines = [heads, ["---"] * len(heads), *(cells(one, training) for one in rows)]
    told = " ".join(section.__doc__.split())
    return f"\n## [{name}]\n\n{told}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(one: Setting, training: bool) -> list[str]:
    """Return a setting's line."""
    readers = [", ".join(one.read_by) or "all"] * training
    return [f"`{one.name.rpartition('.')[2]}`", shown(one.value), one.takes, one.does, *readers]


def written() -> dict[str, str]:
    """Return what this script writes, by file."""
    return {"settings.md": page(), "recipe.schema.json": json.dumps(schema(), indent=1) + "\n"}


if __name__ == "__main__":
    for name, text in written().items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8")
