"""Rows of cells -> prompts, and a count of what was dropped and why. Knows columns, not files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, cast

from sirl.errors import DataError, suggest
from sirl.prompts.cells import Row, bare, find_column, is_missing, number_text, text_of
from sirl.prompts.chats import LEFT_OUT, Asked, request_of, turns_of
from sirl.prompts.choices import with_choices
from sirl.prompts.encodings import damaged
from sirl.prompts.sets import Shape
from sirl.prompts.texts import draw, likeness
from sirl.records import KINDS, UNLABELLED, Kind, Prompt

_SYSTEM = ("system", "system_prompt")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a prompt set comes from: `rows` = `kept` + the sum of `dropped`, which maps why to how many.

    source    the file's name, or the hub's dataset, configuration and split
    set       the published set whose columns were recognised; empty: none
    revision  the hub's commit; None for a file, or where it is not known
    sha256    of the file, or of the rows that the hub gave
    kinds     how many of the kept prompts are of each kind
    assumed   how many rows are of a kind that nobody stated, no cell, no published set and no user, by the kind
              that they were given
    notes     what a user should know of how the file was read
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
    assumed: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows to keep, and the kind of those that state none; `limit` None keeps all.

    `kind` is what the user says; None: nothing. Then it is what the published set says, and else `unstated`.
    """

    kind: Kind | None = None
    limit: int | None = None
    seed: int = 0
    unstated: Kind = UNLABELLED


def read_rows(rows: Sequence[Row], shape: Shape, origin: Origin, selection: Selection) -> PromptSet:
    """Turn a table into prompts by the columns of its shape.

    Dropped and counted: empty texts, texts that are not Unicode, exact duplicates, near duplicates (equal but
    for case, spacing and outer punctuation, asking for the same answer), and what a limit leaves out: which
    prompts those are depends on the seed and on each prompt's id, not on order or company.
    Raises DataError if no row is usable, a kind is unknown, or one id stands for two texts.
    """
    reader = _Reader(shape, origin.source, selection, {name for _, row in rows for name in row})
    kept = list(_distinct(origin.source, map(reader.prompt, rows), reader.dropped))
    if not kept:
        found_none = f"{origin.source} has no usable row ({dict(reader.dropped)})"
        chats = set(LEFT_OUT) & set(reader.dropped)
        advice = "write each request as one text, or as a chat of one user turn" if chats else "fill the column"
        raise DataError(found_none, "at least one prompt", advice)
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
        dropped=dict(reader.dropped),
        assumed=dict(reader.assumed),
        notes=(*origin.notes, *reader.notes(len(rows))),
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


class _Reader:
    """Reads rows by the columns of a shape, in whatever case they are spelled, and counts what it meets."""

    def __init__(self, shape: Shape, source: str, selection: Selection, columns: Collection[str]) -> None:
        named = {
            "kind": "kind",
            "system": next(filter(None, (find_column(c, columns) for c in _SYSTEM)), ""),
            "answer": "answer" if find_column("answer", columns) else "answerKey",
        }
        for name in ("id", "category", "target", "context", "behind", "kind_column"):
            named[name] = getattr(shape, name)
        self.columns = {name: find_column(column, columns) for name, column in named.items()}
        self.shape, self.source, self.selection = shape, source, selection
        self.dropped: Counter[str] = Counter()
        self.assumed: Counter[str] = Counter()
        self.nothing: Counter[str] = Counter()  # cells that spell out that they hold nothing, by column
        self.without_id = self.without_kind = self.answered = self.damaged = 0
        self.replied = self.with_system = 0

    def prompt(self, numbered: Row) -> Prompt | None:
        """Return the prompt of a row; None, counted, if it has no usable text."""
        number, row = numbered
        where = f"row {number} of {self.source}"
        asked = _request(row.get(self.shape.text), f"{self.shape.text} in {where}")
        if asked.left_out:
            self.dropped[asked.left_out] += 1
            return None
        text = asked.text
        if is_missing(text):
            self.dropped["a word for nothing, as nan or None" if bare(text) else "empty"] += 1
            return None
        around = (self._cell(row, "context", where), text, self._cell(row, "behind", where))
        text = "\n\n".join(filter(None, around))
        if not _is_unicode(text):
            self.dropped["not Unicode"] += 1
            return None
        self.damaged += damaged(text)
        self.replied += asked.replied
        self.with_system += bool(self._cell(row, "system", where))
        text, answer = with_choices(row, text, self._cell(row, "answer", where), where)
        return Prompt(
            id=self._identity(row, text, where),
            text=text,
            kind=self._kind(row, answer, where),
            source=self.source,
            category=self._cell(row, "category", where),
            answer=answer,
            target=self._cell(row, "target", where),
        )

    def notes(self, rows: int) -> Iterator[str]:
        """Say what a user should know of the rows."""
        for kind, count in self.assumed.items():
            if kind != UNLABELLED:
                tasks = f" (task for the {self.answered} that have an answer)" if self.answered else ""
                told = f"are taken as {kind}; --kind says otherwise{tasks}"
                yield f"{count} of {rows} rows state no kind and {told}"
        if self.without_kind and self.columns["kind"] and not self.assumed:
            kind = self.selection.kind or self.shape.kind or self.selection.unstated
            yield f"{self.without_kind} of {rows} rows have an empty kind and are taken as {kind}"
        if self.without_id and self.columns["id"]:
            yield f"{self.without_id} of {rows} rows have no id and get one made from the text"
        for column, count in self.nothing.items():
            yield f"{count} cells of {column} hold a word for nothing, as None or nan, and count as empty"
        if self.replied:
            yield f"{self.replied} chats go on after their first request; only that is asked"
        if self.with_system:
            yield f"{self.with_system} rows have a text in {self.columns['system']}, which is not sent"
        if self.damaged:
            yield f"{self.damaged} texts show a wrong encoding (â€™, control or replacement characters)"

    def _cell(self, row: Mapping[str, Any], name: str, where: str) -> str:
        column = self.columns[name]
        value = row.get(column) if column else None
        if isinstance(value, str) and bare(value) and is_missing(value):
            self.nothing[column] += 1
        return text_of(value, f"{column} in {where}")

    def _identity(self, row: Mapping[str, Any], text: str, where: str) -> str:
        """Return the row's id, under the set's name where it has one: two sets may both count from 1."""
        stated = number_text(self._cell(row, "id", where))
        if not stated:
            self.without_id += 1
            return sha256(text.encode()).hexdigest()[:12]
        return f"{self.shape.name}:{stated}" if self.shape.name else stated

    def _kind(self, row: Mapping[str, Any], answer: str, where: str) -> Kind:
        """Return what the row states, else what its set says of it, the user, the set of all, or nobody."""
        stated = self._cell(row, "kind", where)
        if stated:
            if stated.casefold() not in KINDS:
                raise DataError(f"kind {stated!r} in {where}", "a kind of prompt", suggest(stated, KINDS))
            return cast(Kind, stated.casefold())
        if self.shape.kinds:
            return self._marked(row, where)
        self.without_kind += 1
        known = self.selection.kind or self.shape.kind
        if known is None:
            self.assumed[self.selection.unstated] += 1
            self.answered += bool(answer)
        return known or self.selection.unstated

    def _marked(self, row: Mapping[str, Any], where: str) -> Kind:
        """Return what a published set's own marks say."""
        label = self._cell(row, "kind_column", where)
        for beginning, means in self.shape.kinds.items():
            if label.startswith(beginning):
                return means
        found = f"{self.shape.kind_column} {label!r} in {where}"
        raise DataError(found, f"one of {', '.join(self.shape.kinds)}", "mend it, or add a column kind")


def _request(value: object, where: str) -> Asked:
    """Return the request of a cell, a text or a chat. Raises DataError if it is neither."""
    if (turns := turns_of(value)) is not None:
        return request_of(turns, where)
    if not isinstance(value, str) and not is_missing(value):
        what = f"{where} is no text but a {type(value).__name__}"
        raise DataError(what, "text, or a chat as a list of turns", "mend it, or name another column")
    return Asked(value.strip() if isinstance(value, str) else "")


def _distinct(source: str, prompts: Iterable[Prompt | None], dropped: Counter[str]) -> Iterator[Prompt]:
    texts: set[str] = set()
    near: set[tuple[str, str]] = set()
    ids: set[str] = set()
    for prompt in filter(None, prompts):
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


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell but no file can hold
        return False
    return True
