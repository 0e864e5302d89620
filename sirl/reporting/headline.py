"""A story -> its few large figures, each with its interval and which direction is good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sirl import metrics
from sirl.reporting.story import Side, Story
from sirl.reporting.training import ends, show, steps
from sirl.reporting.trust import judged_by
from sirl.reporting.verdict import OPEN, Measure, Verdict
from sirl.reporting.wording import (
    MISSING,
    count,
    interval,
    nats,
    nats_interval,
    number,
    percent,
    plural,
    points,
    share,
    times_fewer,
)
from sirl.rundir import RunDir


@dataclass(frozen=True, slots=True)
class Tile:
    """A title, one (label, big figure, small figure, style) a side, and notes under them."""

    title: str
    figures: tuple[tuple[str, str, str, str], ...]
    notes: tuple[str, ...]


def headline(story: Story, judged: Verdict | None) -> list[Tile]:
    """Return the tiles of the page's top: what the verdict rests on, else of the gap, else of the training."""
    if judged:
        return [_safety(story, judged.safety), *(_tile(story, m, ()) for m in _measured(judged.costs))]
    return [*map(_gap, story.gaps), *map(_training, story.trains)]


def _measured(costs: Sequence[Measure]) -> list[Measure]:
    """Leave the distinct replies out where none were drawn: only a set with open requests has any."""
    return [m for m in costs if m.subject != OPEN or any(row["n"] for row in m.rows)]


def _tile(story: Story, measure: Measure, notes: Sequence[str]) -> Tile:
    figures = [(percent(row["rate"]), interval(row)) for row in measure.rows]
    told = ["higher is better" if measure.harm < 0 else "lower is better"]
    if measure.change and measure.change["difference"] is not None:
        told.append(f"change {points(measure.change)}: {measure.state}")
    title = f"{measure.name[0].upper()}{measure.name[1:]}"
    return Tile(title, _sides(story, figures), (*told, *notes))


def _safety(story: Story, safety: Measure) -> Tile:
    tables = [metrics.dsr_table(side.records) for side in story.sides]
    names = {name for table in tables for name in table["per_attack"]} - {metrics.DIRECT}
    notes = [f"mean over {plural(len(names), 'attack')}"] if names else ["no attack was tried"]
    if names and story.seen is not None:
        notes[0] += f", {count(len(names - story.seen))} of them never used in training"
        if held := names & story.held_out:
            notes[0] += f", {count(len(held))} of these of families held out of everything"
    notes.append(f"attacks withstood (DSR) {_arrow([percent(t['mean']) for t in tables])}")
    if names:
        notes.append(f"lowest of them {_arrow([share(t['worst_detail']) for t in tables])}")
        notes.append(f"prompts on which none succeeded {_arrow([share(t['union_detail']) for t in tables])}")
    if len(story.sides) > 1:
        found = metrics.successes(story.sides[0].records, story.sides[1].records)
        ratio = f": {times_fewer(found)}" if found["n"] else ""
        counts = f"{count(found['before'])} → {count(found['after'])} of {count(found['n'])}"
        notes.append(f"successes {counts} attempts scored twice{ratio}")
    judges = dict.fromkeys(judged_by(side.run.config, side.records, "harmful") for side in story.sides)
    return _tile(story, safety, [*notes, *(f"judged by {told}" for told in judges if told)])


def _gap(side: Side) -> Tile:
    table = metrics.gap_table(side.records)
    notes = (
        f"AUROC {number(table['auroc'], '.3f')}",
        f"{count(table['n_mixed'])} of {count(table['n_attempts'])} attempts hold both kinds of reply",
        f"pooled over all replies, as the paper’s: {nats(table['pooled']['difference'])} nats",
        "positive: more certain when it refuses",
    )
    figure = ("", f"{nats(table['difference'])} nats", nats_interval(table), "one")
    return Tile("Entropy gap within an attempt", (figure,), notes)


def _training(run: RunDir) -> Tile:
    rows = steps(run)
    lines = [
        f"{title} {show(name, found[0])} → {show(name, found[1])}"
        for name, title in (("reward", "reward"), ("entropy", "entropy"), ("refusal_probe", "probes refused"))
        if (found := ends(rows, name))
    ]
    return Tile("Training", (("", plural(len(rows), "step"), "", "one"),), tuple(lines))


def _sides(story: Story, figures: list[tuple[str, str]]) -> tuple[tuple[str, str, str, str], ...]:
    """Label each side's big figure; a figure that is missing has no interval to speak of."""
    return tuple(
        (side.label, big, "" if big == MISSING else small, side.style)
        for side, (big, small) in zip(story.sides, figures, strict=True)
    )


def _arrow(texts: list[str]) -> str:
    return " → ".join(texts)
