"""Prompt sets: read, recognise, check, deduplicate, sample.

    tables  a file of any common shape -> rows of cells, on which stand
              encodings (bytes -> text), delimited (CSV), objects (JSON) and cells (what a cell holds)
    sets    the literal tables: published sets by name, and the shapes of their files
    rows    rows -> prompts, and what was dropped and why; choices: of questions with choices
    files   a file -> a prompt set
    hub     a name -> a prompt set from the Hugging Face hub (not imported here: it needs `datasets`)
    contamination  training prompts that ask what a measurement will ask
    texts   likeness and order

This room knows files and text; it knows nothing of models, attacks or judges.
"""

from sirl.prompts.cells import MISSING, find_column, guarded, is_missing, number_text, text_of, unguarded
from sirl.prompts.contamination import removed, without_held_out
from sirl.prompts.files import TEXT_COLUMNS, load_prompts
from sirl.prompts.rows import PromptSet, Provenance, combine, sample
from sirl.prompts.sets import CONTRASTING, SETS
from sirl.prompts.tables import Table, read_table
from sirl.prompts.texts import normalised, shuffled_once

__all__ = [
    "CONTRASTING",
    "MISSING",
    "SETS",
    "TEXT_COLUMNS",
    "PromptSet",
    "Provenance",
    "Table",
    "combine",
    "find_column",
    "guarded",
    "is_missing",
    "load_prompts",
    "normalised",
    "number_text",
    "read_table",
    "removed",
    "sample",
    "shuffled_once",
    "text_of",
    "unguarded",
    "without_held_out",
]
