"""`python -m sirl` is the command line: what a launcher of several processes starts in each of them."""

from __future__ import annotations

from sirl.cli import main

if __name__ == "__main__":
    main()
