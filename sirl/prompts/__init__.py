"""Prompt sets: read, recognise, check, deduplicate, sample, split.

    tables  a file of any common shape -> rows of cells
    sets    the literal tables: published sets by name, and the shapes of their files
    rows    rows -> prompts, and what was dropped and why
    files   a file -> a prompt set
    hub     a name -> a prompt set from the Hugging Face hub (not imported here: it needs `datasets`)
    contamination  training prompts that ask what a measurement will ask
    texts   likeness, overlap, split

This room knows files and text; it knows nothing of models, attacks or judges.
"""

from sirl.prompts.contamination import removed, without_held_out
from sirl.prompts.files import TEXT_COLUMNS, Sheet, load_prompts, load_rows
from sirl.prompts.rows import PromptSet, Provenance, combine, sample
from sirl.prompts.sets import SETS
from sirl.prompts.texts import normalised, shuffled_once, split_prompts, without_overlap

__all__ = [
    "SETS",
    "TEXT_COLUMNS",
    "PromptSet",
    "Provenance",
    "Sheet",
    "combine",
    "load_prompts",
    "load_rows",
    "normalised",
    "removed",
    "sample",
    "shuffled_once",
    "split_prompts",
    "without_held_out",
    "without_overlap",
]
