"""The nouns that pass from room to room, the protocols between rooms, and a record's JSON form.

    Prompt -> Attempt -> Completion -> Verdict -> Record -> Rate -> page

All nouns are frozen. This room knows no model or file; its protocols keep attacks, judges and models strangers.
"""

from sirl.records.form import from_json, to_json, without_tokens
from sirl.records.lean import Lean
from sirl.records.nouns import (
    ASSUMED,
    KINDS,
    SLOT,
    UNLABELLED,
    Access,
    AttackKind,
    Attempt,
    Completion,
    Decoding,
    Defended,
    Kind,
    Message,
    Prompt,
    Question,
    Rate,
    Record,
    Search,
    Verdict,
    item_seed,
)
from sirl.records.protocols import Around, Attack, Judge, Rows, Target, WhiteBox, sent_through
from sirl.records.withheld import Transcripts, notice, shown, transcripts_of

__all__ = [
    "ASSUMED",
    "KINDS",
    "SLOT",
    "UNLABELLED",
    "Access",
    "Around",
    "Attack",
    "AttackKind",
    "Attempt",
    "Completion",
    "Decoding",
    "Defended",
    "Judge",
    "Kind",
    "Lean",
    "Message",
    "Prompt",
    "Question",
    "Rate",
    "Record",
    "Rows",
    "Search",
    "Target",
    "Transcripts",
    "Verdict",
    "WhiteBox",
    "from_json",
    "item_seed",
    "notice",
    "sent_through",
    "shown",
    "to_json",
    "transcripts_of",
    "without_tokens",
]
