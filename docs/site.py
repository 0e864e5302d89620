"""What the site needs beyond the pages of this folder: README and CONTRIBUTING, whose links lead from the root."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files: Any, config: Any) -> Any:
    """Add the two pages of the root."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=_from_docs((ROOT / name).read_text("utf-8"))))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links of any page to what is not in the site be words."""
    return re.sub(r"\[([^\]]*)\]\(\.\./([^)]*)\)", r"\1 (`\2` in the repository)", markdown)


def _from_docs(text: str) -> str:
    """Return a page of the root with its links as one of docs/ has them."""
    for name, page in PAGES.items():
        text = text.replace(f"]({name}", f"]({page}")
    return re.sub(r"\]\((?!docs/|https?:|#|index\.md|contributing\.md)", "](../", text).replace("](docs/", "](")
