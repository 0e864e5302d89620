"""`python -m sirl` is the command line: what a launcher of several processes starts in each of them.

Python puts the current folder first on the import path; it is taken away before anything else is imported, so
that no file in it stands in for a library. The script `sirl` never has it.
"""

from __future__ import annotations

import sys

if not sys.flags.safe_path:
    del sys.path[0]

from sirl.cli import main  # only now

if __name__ == "__main__":
    main()
