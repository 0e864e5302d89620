"""Prompt sets: read, recognise, check, deduplicate, sample.

    tables  a file of any common shape -> rows of cells, on which stand
              encodings (bytes -> text), delimited (CSV), objects (JSON) and cells (what a cell holds)
    hub     a data set of the Hugging Face hub, or a folder of data files -> rows of cells
    sets    the literal tables: published sets by name, and the shapes of their files
    rows    rows -> prompts, and what was dropped and why; choices: of questions with choices; chats: of chats
    files   a file, or a data set of the hub -> a prompt set
    published  a name -> a prompt set from the hub
    contamination  training prompts that ask what a measurement will ask
    texts   likeness and order

This room knows files and text; it knows nothing of models, attacks or judges.
"""

from sirl.prompts.cells import MISSING, find_column, guarded, is_missing, number_text, text_of, unguarded
from sirl.prompts.chats import only_turn, turns_of
from sirl.prompts.contamination import removed, without_held_out
from sirl.prompts.files import TEXT_COLUMNS, load_prompts
from sirl.prompts.objects import CASES
from sirl.prompts.rows import PromptSet, Provenance, combine, sample
from sirl.prompts.sets import CONTRASTING, SETS
from sirl.prompts.tables import Table, read_table
from sirl.prompts.texts import normalised, shuffled_once

__all__ = [
    "CASES",
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
    "only_turn",
    "read_table",
    "removed",
    "sample",
    "shuffled_once",
    "text_of",
    "turns_of",
    "unguarded",
    "without_held_out",
]
