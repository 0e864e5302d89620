"""Rows of cells -> prompts, and a count of what was dropped and why. Knows columns, not files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, cast

from sirl.errors import DataError, suggest
from sirl.prompts.sets import Shape
from sirl.prompts.texts import draw, likeness
from sirl.records import KINDS, Kind, Prompt

Row = tuple[int, Mapping[str, Any]]  # its number in the file as an editor counts lines or rows, its cells


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a prompt set comes from: `rows` = `kept` + the sum of `dropped`, which maps why to how many.

    source    the file's name, or the hub's dataset, configuration and split
    set       the published set whose columns were recognised; empty: none
    revision  the hub's commit; None for a file, or where it is not known
    sha256    of the file, or of the rows that the hub gave
    kinds     how many of the kept prompts are of each kind
    """

    source: str
    set: str
    revision: str | None
    sha256: str
    encoding: str
    column: str
    rows: int
    kept: int
    kinds: Mapping[str, int]
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts in the order of their file, and where they come from."""

    prompts: tuple[Prompt, ...]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of a table before its rows are read."""

    source: str
    sha256: str
    encoding: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows to keep, and the kind of those that state none; `limit` None keeps all."""

    kind: Kind = "harmful"
    limit: int | None = None
    seed: int = 0


def read_rows(rows: Sequence[Row], shape: Shape, origin: Origin, selection: Selection) -> PromptSet:
    """Turn a table into prompts by the columns of its shape.

    Dropped and counted: empty texts, texts that are not Unicode, exact duplicates, near duplicates (equal but
    for case, spacing and outer punctuation, asking for the same answer), and what a limit leaves out: which
    prompts those are depends on the seed and on each prompt's id, not on order or company.
    Raises DataError if no row is usable, a kind is unknown, or one id stands for two texts.
    """
    dropped: Counter[str] = Counter()
    found = _prompts(rows, shape, origin.source, selection.kind, dropped)
    kept = list(_distinct(origin.source, found, dropped))
    if not kept:
        found_none = f"{origin.source} has no usable row ({dict(dropped)})"
        raise DataError(found_none, "at least one prompt", "fill the column")
    provenance = Provenance(
        source=origin.source,
        set=shape.name,
        revision=origin.revision,
        sha256=origin.sha256,
        encoding=origin.encoding,
        column=shape.text,
        rows=len(rows),
        kept=len(kept),
        kinds=kinds_of(kept),
        dropped=dict(dropped),
    )
    return sample(PromptSet(tuple(kept), provenance), selection.limit, selection.seed)


def sample(one: PromptSet, limit: int | None, seed: int) -> PromptSet:
    """Keep `limit` prompts of a set by the seed and each one's id, count the rest; None keeps all."""
    if limit is None or len(one.prompts) <= limit:
        return one
    chosen = {p.id for p in sorted(one.prompts, key=lambda p: (draw(p, seed), p.id))[:limit]}
    kept = tuple(prompt for prompt in one.prompts if prompt.id in chosen)
    dropped = {**one.provenance.dropped, "past the limit": len(one.prompts) - limit}
    return PromptSet(kept, replace(one.provenance, kept=limit, kinds=kinds_of(kept), dropped=dropped))


def combine(sets: Sequence[PromptSet]) -> list[PromptSet]:
    """Drop from each set what an earlier one already asks, word for word or nearly, and count it."""
    seen: set[tuple[str, str]] = set()
    combined = []
    for one in sets:
        kept = tuple(prompt for prompt in one.prompts if likeness(prompt) not in seen)
        seen |= {likeness(prompt) for prompt in kept}
        twice = len(one.prompts) - len(kept)
        dropped = {**one.provenance.dropped, **({"in an earlier set": twice} if twice else {})}
        provenance = replace(one.provenance, kept=len(kept), kinds=kinds_of(kept), dropped=dropped)
        combined.append(PromptSet(kept, provenance))
    return combined


def kinds_of(prompts: Sequence[Prompt]) -> dict[str, int]:
    """Count the prompts by kind."""
    return dict(sorted(Counter(prompt.kind for prompt in prompts).items()))


def _prompts(
    rows: Sequence[Row], shape: Shape, source: str, kind: Kind, dropped: Counter[str]
) -> Iterator[Prompt]:
    for number, row in rows:
        where = f"row {number} of {source}"
        text = row.get(shape.text)
        if text is not None and not isinstance(text, str):
            raise DataError(f"{shape.text} in {where} is no text", "text", "mend it")
        text = (text or "").strip()
        if not text:
            dropped["empty"] += 1
            continue
        context = _cell(row, shape.context)
        text = f"{context}\n\n{text}" if context else text
        if not _is_unicode(text):
            dropped["not Unicode"] += 1
            continue
        yield Prompt(
            id=_identity(row, shape, text),
            text=text,
            kind=_kind(row, shape, kind, where),
            source=source,
            category=_cell(row, shape.category),
            answer=_cell(row, "answer"),
            target=_cell(row, shape.target),
        )


def _identity(row: Mapping[str, Any], shape: Shape, text: str) -> str:
    """Return the row's id, under the set's name where it has one: two sets may both count from 1."""
    stated = _cell(row, shape.id)
    if not stated:
        return sha256(text.encode()).hexdigest()[:12]
    return f"{shape.name}:{stated}" if shape.name else stated


def _kind(row: Mapping[str, Any], shape: Shape, kind: Kind, where: str) -> Kind:
    stated = _cell(row, "kind")
    if stated:
        if stated not in KINDS:
            raise DataError(f"kind {stated!r} in {where}", "a kind of prompt", suggest(stated, KINDS))
        return cast(Kind, stated)
    if not shape.kinds:
        return kind
    label = _cell(row, shape.kind_column)
    for beginning, means in shape.kinds.items():
        if label.startswith(beginning):
            return means
    found = f"{shape.kind_column} {label!r} in {where}"
    raise DataError(found, f"one of {', '.join(shape.kinds)}", "mend it, or add a column kind")


def _distinct(source: str, prompts: Iterator[Prompt], dropped: Counter[str]) -> Iterator[Prompt]:
    texts: set[str] = set()
    near: set[tuple[str, str]] = set()
    ids: set[str] = set()
    for prompt in prompts:
        alike = likeness(prompt)
        if prompt.text in texts:
            dropped["duplicate"] += 1
        elif alike in near:
            dropped["near duplicate"] += 1
        else:
            if prompt.id in ids:
                found = f"id {prompt.id!r} stands for two texts in {source}"
                raise DataError(found, "one id a prompt", "number them anew, or drop the id column")
            texts.add(prompt.text)
            near.add(alike)
            ids.add(prompt.id)
            yield prompt


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name) if name else None
    return "" if value is None else str(value).strip()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell but no file can hold
        return False
    return True
